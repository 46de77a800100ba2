//! `publish` and `subscribe` alone, without a server in the same binary: for trying the client by hand.

use std::process::ExitCode;

use clap::Parser;

#[path = "../../../src/cli/publish.rs"]
mod publish;
#[path = "../../../src/cli/subscribe.rs"]
mod subscribe;

/// The far end alone.
#[derive(Debug, Parser)]
enum Command {
    Publish(publish::Args),
    Subscribe(subscribe::Args),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match Command::parse() {
        Command::Publish(args) => publish::run(args).await,
        Command::Subscribe(args) => subscribe::run(args).await,
    }
}
