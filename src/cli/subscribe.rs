//! `bongsu subscribe`: follows channels and prints what is published, across reconnects, without loss in silence.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use bongsu_core::{ChannelName, Cursor, Start};
use bongsu_lab::client::{Choice, Client, ClientFault, Event, Notice, Options, Published, Subscriber, Transport};

use super::exit::Exit;
use super::publish::exit_code;

/// Follow channels, and print what is published in them.
///
/// A lost connection is taken up again where it was. What may have been missed all the same is said on standard error.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The server.
    #[arg(long, env = "BONGSU_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The channels, such as chat/lobby.
    #[arg(value_name = "CHANNEL", required = true, value_parser = channel)]
    channels: Vec<ChannelName>,
    /// What carries it: auto (the first of the others that gets through), websocket, sse, stream, multipart, long-poll or poll.
    #[arg(long, default_value = "auto", value_name = "TRANSPORT", value_parser = transport)]
    transport: Carrier,
    /// Begin after this cursor. For several channels give CHANNEL=CURSOR, once for each.
    #[arg(long, value_name = "CURSOR", conflicts_with_all = ["earliest", "last"])]
    after: Vec<String>,
    /// Begin with the oldest publication that is kept. Without a word on where to begin: with the next one.
    #[arg(long, conflicts_with = "last")]
    earliest: bool,
    /// Begin with the last so many.
    #[arg(long, value_name = "COUNT")]
    last: Option<u64>,
    /// End after so many publications.
    #[arg(long)]
    count: Option<u64>,
    /// How to print: text is the payload and a line end, json the publication's whole JSON form, one a line.
    #[arg(long, default_value = "text")]
    format: Format,
    /// The pause between two polls, such as 500ms, 1s or 2m.
    #[arg(long, default_value = "1s", value_parser = duration)]
    interval: Duration,
    /// End when the connection is lost, instead of taking it up again.
    #[arg(long)]
    no_reconnect: bool,
}

/// How publications are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// The payload and a line end.
    Text,
    /// The whole JSON form.
    Json,
}

/// `auto`, or the transport that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Carrier(Option<Transport>);

const EXAMPLES: &str = "\
Examples:
  bongsu subscribe chat/lobby
  bongsu subscribe chat/lobby --earliest --count 10 --format json
  bongsu subscribe prices --transport long-poll
  bongsu subscribe orders refunds --after orders=8JqYc2LmNpR-42 --after refunds=8JqYc2LmNpT-7

Ctrl-C tells the cursors, with which the same command goes on where it ended.

Exit codes: 0 as asked, 2 wrong usage, 4 the server refused, 5 the server cannot be reached (with --no-reconnect).";

/// Why following ends.
enum End {
    /// As many as were asked for have come, or the reader has seen enough.
    Done,
    Interrupted,
    Fault(ClientFault),
    Output(io::Error),
}

/// Follows as asked, with publications on standard output and everything else on standard error.
pub(crate) async fn run(args: Args) -> ExitCode {
    let mut subscriber = match subscriber(&args) {
        Ok(subscriber) => subscriber,
        Err(message) => return fail(Exit::Usage, &message),
    };
    let end = tokio::select! {
        end = follow(&mut subscriber, &args) => end,
        _ = interrupted() => End::Interrupted,
    };
    subscriber.close().await;
    match end {
        End::Done => ExitCode::SUCCESS,
        End::Interrupted => {
            say(&how_to_resume(&subscriber));
            ExitCode::SUCCESS
        }
        End::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        End::Output(error) => fail(Exit::Failure, &format!("cannot write to standard output: {error}")),
        End::Fault(fault) => {
            say(&fault.to_string());
            fail(exit_code(&fault), &how_to_resume(&subscriber))
        }
    }
}

fn subscriber(args: &Args) -> Result<Subscriber, String> {
    let text = |fault: ClientFault| fault.to_string();
    let options = Options { interval: args.interval, ..Options::default() };
    let client = Client::new(&args.url).map_err(text)?.with_options(options);
    let choice = args.transport.0.map_or_else(Choice::auto, Choice::fixed);
    let subscriber = client.follow_from(choice, starts(args)?).map_err(text)?;
    Ok(if args.no_reconnect { subscriber.without_reconnect() } else { subscriber })
}

/// Where each channel begins.
fn starts(args: &Args) -> Result<Vec<(ChannelName, Start)>, String> {
    let common = match args.last {
        Some(count) => Start::Last(count),
        None if args.earliest => Start::Earliest,
        None => Start::Live,
    };
    let mut starts: Vec<(ChannelName, Start)> = Vec::new();
    for channel in &args.channels {
        if !starts.iter().any(|(known, _)| known == channel) {
            starts.push((channel.clone(), common.clone()));
        }
    }
    for after in &args.after {
        let (channel, cursor) = match after.rsplit_once('=') {
            Some((channel, cursor)) => (channel, cursor),
            None if starts.len() == 1 => (starts[0].0.as_str(), after.as_str()),
            None => return Err(format!("--after {after}: write CHANNEL=CURSOR where there are several channels")),
        };
        let cursor = Cursor::parse(cursor).map_err(|fault| format!("--after {after}: {fault}"))?;
        let channel = channel.to_owned();
        let Some((_, start)) = starts.iter_mut().find(|(known, _)| known.as_str() == channel) else {
            return Err(format!("--after {after}: {channel} is none of the channels to follow"));
        };
        *start = Start::After(cursor);
    }
    Ok(starts)
}

async fn follow(subscriber: &mut Subscriber, args: &Args) -> End {
    let (mut count, mut was_lost) = (0, false);
    while args.count.is_none_or(|count_max| count < count_max) {
        let notice = match subscriber.next().await {
            Ok(notice) => notice,
            Err(fault) => return End::Fault(fault),
        };
        match notice {
            Notice::Event(Event::Publication(published)) => {
                if let Err(error) = print(&published, args.format) {
                    return End::Output(error);
                }
                count += 1;
            }
            Notice::Event(Event::Gap(_) | Event::Bye(_)) | Notice::FellBack { .. } => say(&notice.to_string()),
            Notice::Lost { .. } => {
                was_lost = true;
                say(&notice.to_string());
            }
            Notice::Connected { .. } if std::mem::take(&mut was_lost) => say(&format!("{notice} again")),
            Notice::Connected { .. } | Notice::Event(_) => (),
        }
    }
    End::Done
}

/// Prints a publication with one write, and at once.
fn print(published: &Published, format: Format) -> io::Result<()> {
    let mut line = match format {
        Format::Text => published.data.to_vec(),
        Format::Json => published.to_json().into_bytes(),
    };
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}

/// Waits until somebody wants the command to end.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => (),
                _ = tokio::signal::ctrl_c() => (),
            }
        }
        Err(_) => _ = tokio::signal::ctrl_c().await,
    }
}

fn how_to_resume(subscriber: &Subscriber) -> String {
    let cursors: Vec<_> = subscriber.cursors().filter_map(|(channel, cursor)| Some((channel, cursor?))).collect();
    let several = subscriber.cursors().count() > 1;
    match cursors.as_slice() {
        [] => "no cursor is known yet: nothing was received".to_owned(),
        [(_, cursor)] if !several => format!("go on from here with --after {cursor}"),
        cursors => {
            let afters: Vec<_> =
                cursors.iter().map(|(channel, cursor)| format!("--after {}", quoted(&format!("{channel}={cursor}")))).collect();
            format!("go on from here with {}", afters.join(" "))
        }
    }
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    if word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/=-_.,:+@".contains(&byte)) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn fail(exit: Exit, message: &str) -> ExitCode {
    say(message);
    exit.into()
}

/// Tells a person something.
fn say(text: &str) {
    // Whoever closed standard error does not want to hear it.
    _ = writeln!(io::stderr().lock(), "bongsu subscribe: {text}");
}

fn channel(text: &str) -> Result<ChannelName, String> {
    ChannelName::parse(text).map_err(|fault| fault.to_string())
}

fn transport(text: &str) -> Result<Carrier, String> {
    match text {
        "auto" => Ok(Carrier(None)),
        _ => text.parse().map(|transport| Carrier(Some(transport))).map_err(|fault: String| format!("{fault}, auto")),
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let wrong = || "write a number with ms, s or m, such as 500ms".to_owned();
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(words: &[&str]) -> Result<Args, clap::Error> {
        Line::try_parse_from(std::iter::once(&"subscribe").chain(words)).map(|line| line.args)
    }

    fn starts_of(words: &[&str]) -> Result<String, String> {
        let starts = starts(&parse(words).expect("a command line"))?;
        Ok(starts.iter().map(|(channel, start)| format!("{channel} {start:?}")).collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn each_channel_begins_where_the_command_line_says() {
        assert_eq!(starts_of(&["a"]).expect("fine"), "a Live");
        assert_eq!(starts_of(&["a", "b", "a", "--earliest"]).expect("fine"), "a Earliest, b Earliest");
        assert_eq!(starts_of(&["a", "--last", "5"]).expect("fine"), "a Last(5)");
        let several = starts_of(&["a", "b=c", "d", "--after", "b=c=e-7", "--after", "a=e-1"]).expect("fine");
        assert!(several.starts_with("a After(") && several.contains("b=c After(") && several.ends_with("d Live"), "{several}");
        assert!(starts_of(&["a", "b", "--after", "e-1"]).expect_err("which one?").contains("CHANNEL=CURSOR"));
        assert!(starts_of(&["a", "--after", "e_1"]).expect_err("no cursor").contains("not a cursor"));
        assert!(starts_of(&["a", "--after", "b=e-1"]).expect_err("not followed").contains("none of the channels"));
    }

    #[test]
    fn wrong_words_are_refused_before_anything_is_sent() {
        for words in [
            &[][..],
            &["/a"],
            &["a", "--transport", "pigeon"],
            &["a", "--earliest", "--last", "1"],
            &["a", "--after", "e-1", "--earliest"],
            &["a", "--interval", "1"],
            &["a", "--interval", "s"],
            &["a", "--format", "xml"],
            &["a", "--count", "-1"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn reads_durations_and_transports() {
        for (text, ms) in [("500ms", 500), ("1s", 1_000), ("2m", 120_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)));
        }
        assert_eq!(transport("auto"), Ok(Carrier(None)));
        assert_eq!(transport("long-poll"), Ok(Carrier(Some(Transport::LongPoll))));
    }

    #[test]
    fn tells_how_to_resume_in_words_for_a_shell() {
        let client = Client::new("http://a").expect("an address");
        let start = |name: &str, start| (ChannelName::parse(name).expect("a name"), start);
        let after = || Start::After(Cursor::parse("e-1").expect("a cursor"));
        let resume = |starts| how_to_resume(&client.follow_from(Choice::auto(), starts).expect("channels"));
        assert_eq!(resume(vec![start("a", after())]), "go on from here with --after e-1");
        assert_eq!(resume(vec![start("a", Start::Live)]), "no cursor is known yet: nothing was received");
        assert_eq!(
            resume(vec![start("a", after()), start("it's b", after()), start("c", Start::Live)]),
            r"go on from here with --after a=e-1 --after 'it'\''s b=e-1'"
        );
    }
}
