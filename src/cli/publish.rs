//! `bongsu publish`: publishes an argument, a file, standard input, or each of its lines.

use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bongsu_core::{ChannelName, ContentType, Draft};
use bongsu_lab::client::{BackoffLimits, Client, ClientFault, Outgoing, PublishOver, Publisher, Scheme, Trust, Verdict};
use tokio::sync::mpsc;

use super::exit::Exit;

/// Publish in a channel, and print the position of what was published.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The server: http://host:port, tcp://host:port, udp://host:port, stomp://host:port or
    /// ws://host:port/stomp; over TLS https://, tcps://, stomps:// or wss:// [default: the usual port of the transport on this machine, http://127.0.0.1:8080].
    #[arg(long, env = "BONGSU_URL")]
    url: Option<String>,
    /// Over TLS: take certificates that this file vouches for, in place of the authorities of the web.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca: Option<PathBuf>,
    /// Over TLS: take any certificate, unchecked. Whoever is on the way can then read and change everything.
    #[arg(long)]
    insecure: bool,
    /// What carries it: auto (what the address says, else http), http, websocket, tcp, udp, stomp or stomp+ws.
    #[arg(long, default_value = "auto", value_name = "TRANSPORT", value_parser = transport)]
    transport: Carrier,
    /// The channel, such as chat/lobby.
    #[arg(value_parser = channel)]
    channel: ChannelName,
    /// What to publish: a text, @FILE for a file's bytes, - or nothing for standard input.
    #[arg(value_name = "DATA|-|@FILE", allow_negative_numbers = true)]
    data: Option<String>,
    /// Publish each line by itself, in order, many in one request.
    #[arg(long)]
    lines: bool,
    /// What the data is: a media type, or json [default: text/plain; for what is not UTF-8 application/octet-stream].
    #[arg(long = "type", value_name = "TYPE")]
    content_type: Option<String>,
    /// What the publication is about, for subscribers that keep the newest of each key.
    #[arg(long)]
    key: Option<String>,
    /// A header to travel along; may be given several times.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Publish under this key at most once, even when the command is run again. With --lines, line N is under KEY-N.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// How often to try again when the server cannot be reached or its answer is lost. Nothing is published twice by it.
    #[arg(long, value_name = "TIMES", default_value_t = 4)]
    retry: u32,
}

/// `auto`, or what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Carrier(Option<PublishOver>);

const EXAMPLES: &str = "\
Examples:
  bongsu publish chat/lobby 'hello, world'
  bongsu publish chat/lobby 'hello, world' --transport tcp
  bongsu publish chat/lobby 'hello, world' --url stomp://127.0.0.1:61613
  bongsu publish prices '{\"EUR\":1.08}' --type json --key EUR
  bongsu publish images @beacon.png --type image/png
  tail -f access.log | bongsu publish logs/web --lines
  bongsu publish imports @orders.ndjson --lines --type json --idempotency-key orders-2026-11

Exit codes: 0 published, 2 wrong usage, 4 the server refused, 5 the server cannot be reached.";

/// Why the command ends early.
#[derive(Debug)]
enum End {
    Fault(ClientFault),
    /// Some lines were refused, each of which was told.
    Refused,
    Input(String, io::Error),
    Output(io::Error),
    /// The arguments cannot be acted on.
    Usage(String),
}

/// Publishes as asked, with positions on standard output and everything else on standard error.
pub(crate) async fn run(args: Args) -> ExitCode {
    match publish(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads the positions has seen enough.
        Err(End::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(End::Output(error)) => fail(Exit::Failure, &format!("cannot write to standard output: {error}")),
        Err(End::Input(name, error)) => fail(Exit::Usage, &format!("cannot read {name}: {error}")),
        Err(End::Usage(message)) => fail(Exit::Usage, &message),
        Err(End::Refused) => Exit::Refused.into(),
        Err(End::Fault(fault)) => fail(exit_code(&fault), &fault.to_string()),
    }
}

/// The exit code that tells a fault.
pub(crate) fn exit_code(fault: &ClientFault) -> Exit {
    match fault {
        ClientFault::WrongAddress { .. } | ClientFault::Unsayable { .. } => Exit::Usage,
        ClientFault::Url { .. } | ClientFault::Name(_) | ClientFault::Cursor(_) => Exit::Usage,
        ClientFault::Refused(problem) if problem.is_document || fault.verdict() == Verdict::Final => Exit::Refused,
        ClientFault::Told { .. } | ClientFault::SentAway(_) => Exit::Refused,
        ClientFault::Tls { .. } => Exit::CannotConnect,
        ClientFault::Refused(_) | ClientFault::Connect { .. } | ClientFault::Broken(_) | ClientFault::Silent { .. } => Exit::CannotConnect,
        _ => Exit::Failure,
    }
}

/// A client that trusts whom the arguments say.
pub(crate) fn trusting(client: Client, ca: Option<&Path>, insecure: bool) -> Result<Client, String> {
    match ca {
        Some(ca) => Ok(client.trusting(Trust::file(ca).map_err(|fault| format!("--ca {fault}"))?)),
        None if insecure => Ok(client.trusting(Trust::anyone())),
        None => Ok(client),
    }
}

fn fail(exit: Exit, message: &str) -> ExitCode {
    say(message);
    exit.into()
}

/// Tells a person something.
fn say(text: &str) {
    // Whoever closed standard error does not want to hear it.
    _ = writeln!(io::stderr().lock(), "bongsu publish: {text}");
}

async fn publish(args: &Args) -> Result<(), End> {
    let Carrier(asked) = args.transport;
    let usual = asked.map_or(Scheme::Http, PublishOver::scheme).usual();
    let client = Client::new(args.url.as_deref().unwrap_or(usual))?;
    let client = trusting(client, args.ca.as_deref(), args.insecure).map_err(End::Usage)?;
    let over = asked.unwrap_or_else(|| PublishOver::implied(client.target()));
    let mut publisher = client.publisher().over(over).with_retries(args.retry, BackoffLimits::default());
    if args.lines {
        return publish_lines(args, &mut publisher).await;
    }
    let data = read_whole(args).map_err(|error| End::Input(input_name(args), error))?;
    let outgoing = outgoing(args, data, args.idempotency_key.clone());
    let position = publisher.publish(&outgoing).await?;
    print(position.as_str()).map_err(End::Output)
}

async fn publish_lines(args: &Args, publisher: &mut Publisher) -> Result<(), End> {
    let reader = open(args).map_err(|error| End::Input(input_name(args), error))?;
    let mut lines = read_lines(reader);
    let mut progress = Progress::new();
    let mut batch = Vec::with_capacity(BATCH_LINES_MAX);
    loop {
        let ended = next_batch(&mut lines, &mut batch).await.map_err(|error| End::Input(input_name(args), error));
        if !batch.is_empty() {
            publish_batch(args, publisher, &mut batch, &mut progress).await?;
        }
        if ended? {
            progress.finish();
            return Ok(());
        }
    }
}

async fn publish_batch(args: &Args, publisher: &mut Publisher, batch: &mut Vec<Vec<u8>>, progress: &mut Progress) -> Result<(), End> {
    let first = progress.lines + 1;
    let key = |line: u64| args.idempotency_key.as_ref().map(|key| format!("{key}-{line}"));
    let outgoing: Vec<_> = (first..).zip(batch.drain(..)).map(|(line, data)| outgoing(args, data, key(line))).collect();
    let results = publisher.publish_all(&outgoing).await.inspect_err(|_| {
        progress.finish();
        say(&format!("from line {first} on it is not certain what was published"));
    })?;
    let mut refused = false;
    for (line, result) in (first..).zip(results) {
        match result {
            Ok(position) => print(position.as_str()).map_err(End::Output)?,
            Err(fault) => {
                refused = true;
                say(&format!("line {line}: {fault}"));
            }
        }
    }
    progress.add(outgoing.len() as u64);
    if refused {
        say(&format!("stopped after line {}; the lines of this batch that were not refused are published", progress.lines));
        return Err(End::Refused);
    }
    Ok(())
}

/// Takes what is there, so that a slow source is not held back to fill a batch. `true` at the end of the input.
async fn next_batch(lines: &mut mpsc::Receiver<io::Result<Vec<u8>>>, batch: &mut Vec<Vec<u8>>) -> io::Result<bool> {
    let Some(first) = lines.recv().await else { return Ok(true) };
    batch.push(first?);
    let mut bytes = batch[0].len();
    while batch.len() < BATCH_LINES_MAX && bytes < BATCH_BYTES_MAX {
        match lines.try_recv() {
            Ok(line) => {
                let line = line?;
                bytes += line.len();
                batch.push(line);
            }
            Err(_) => break,
        }
    }
    Ok(false)
}

const BATCH_LINES_MAX: usize = 256;
const BATCH_BYTES_MAX: usize = 256 << 10;

/// Reads lines on a thread of its own, since reading standard input blocks.
fn read_lines(reader: Box<dyn BufRead + Send>) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(2 * BATCH_LINES_MAX);
    std::thread::spawn(move || {
        let mut reader = reader;
        while let Some(line) = next_line(&mut reader).transpose() {
            let failed = line.is_err();
            if sender.blocking_send(line).is_err() || failed {
                break;
            }
        }
    });
    receiver
}

fn next_line(reader: &mut dyn BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.ends_with(b"\n") {
        line.truncate(line.len() - if line.ends_with(b"\r\n") { 2 } else { 1 });
    }
    Ok(Some(line))
}

fn read_whole(args: &Args) -> io::Result<Vec<u8>> {
    if let Some(text) = literal(args) {
        return Ok(text.as_bytes().to_vec());
    }
    let mut data = Vec::new();
    open(args)?.read_to_end(&mut data)?;
    Ok(data)
}

fn open(args: &Args) -> io::Result<Box<dyn BufRead + Send>> {
    if let Some(text) = literal(args) {
        return Ok(Box::new(io::Cursor::new(text.to_owned().into_bytes())));
    }
    match file(args) {
        Some(path) => Ok(Box::new(BufReader::new(std::fs::File::open(path)?))),
        None => {
            if io::stdin().is_terminal() {
                say("reading from the terminal; end with Ctrl-D");
            }
            Ok(Box::new(BufReader::new(io::stdin())))
        }
    }
}

/// The data itself, where it stands on the command line.
fn literal(args: &Args) -> Option<&str> {
    args.data.as_deref().filter(|data| *data != "-" && !data.starts_with('@'))
}

fn file(args: &Args) -> Option<&str> {
    args.data.as_deref()?.strip_prefix('@')
}

fn input_name(args: &Args) -> String {
    file(args).unwrap_or("standard input").to_owned()
}

fn outgoing(args: &Args, data: Vec<u8>, idempotency_key: Option<String>) -> Outgoing {
    let content_type = match args.content_type.as_deref() {
        Some("json") => ContentType::Json,
        Some(media_type) => ContentType::parse(media_type),
        None if std::str::from_utf8(&data).is_ok() => ContentType::Text,
        None => ContentType::Octets,
    };
    let headers = args.headers.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect();
    let draft = Draft { data: data.into(), content_type, key: args.key.as_deref().map(Arc::from), headers };
    Outgoing { channel: args.channel.clone(), draft, idempotency_key }
}

fn print(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// How many lines are published, told now and then to a person who waits.
struct Progress {
    lines: u64,
    shown: Option<Instant>,
    began: Instant,
    /// Positions scroll by on a terminal and say enough; progress is for when they go elsewhere.
    told: bool,
}

impl Progress {
    fn new() -> Self {
        let told = io::stderr().is_terminal() && !io::stdout().is_terminal();
        Self { lines: 0, shown: None, began: Instant::now(), told }
    }

    fn add(&mut self, lines: u64) {
        self.lines += lines;
        let last = self.shown.unwrap_or(self.began);
        if self.told && last.elapsed() >= Duration::from_secs(1) {
            self.shown = Some(Instant::now());
            let rate = self.lines as f64 / self.began.elapsed().as_secs_f64();
            _ = write!(io::stderr().lock(), "\r{} lines published, {rate:.0} a second ", self.lines);
        }
    }

    fn finish(&mut self) {
        if self.shown.take().is_some() {
            _ = writeln!(io::stderr().lock());
        }
    }
}

fn channel(text: &str) -> Result<ChannelName, String> {
    ChannelName::parse(text).map_err(|fault| fault.to_string())
}

fn transport(text: &str) -> Result<Carrier, String> {
    match text {
        "auto" => Ok(Carrier(None)),
        _ => text.parse().map(|over| Carrier(Some(over))).map_err(|fault: String| format!("{fault}, auto")),
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl From<ClientFault> for End {
    fn from(fault: ClientFault) -> Self {
        Self::Fault(fault)
    }
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

    fn args(words: &[&str]) -> Args {
        Line::try_parse_from(std::iter::once(&"publish").chain(words)).expect("a command line").args
    }

    fn outgoing_of(words: &[&str]) -> Outgoing {
        let args = args(words);
        outgoing(&args, read_whole(&args).expect("data on the command line"), args.idempotency_key.clone())
    }

    #[test]
    fn the_command_line_says_what_is_published() {
        let plain = outgoing_of(&["chat/lobby", "hello"]);
        assert_eq!((plain.channel.as_str(), &plain.draft), ("chat/lobby", &Draft::text("hello")));
        let full = outgoing_of(&["a", "{}", "--type", "json", "--key", "k", "--header", "n=v=w", "--idempotency-key", "once"]);
        assert_eq!(full.draft.content_type, ContentType::Json);
        assert_eq!(full.draft.key.as_deref(), Some("k"));
        assert_eq!(full.draft.headers.as_ref(), [("n".into(), "v=w".into())]);
        assert_eq!(full.idempotency_key.as_deref(), Some("once"));
        assert_eq!(outgoing(&args(&["a"]), vec![0xff], None).draft.content_type, ContentType::Octets);
    }

    #[test]
    fn wrong_words_are_refused_before_anything_is_sent() {
        for words in [&["a//b"][..], &["a", "x", "--header", "=v"], &["a", "x", "--retry", "-1"], &[]] {
            assert!(Line::try_parse_from(std::iter::once(&"publish").chain(words)).is_err(), "{words:?}");
        }
    }

    #[tokio::test]
    async fn lines_come_in_order_and_in_batches_within_their_bound() {
        let text: String = (0..600).map(|n| format!("line {n}{}", if n % 2 == 0 { "\r\n" } else { "\n" })).collect::<String>() + "last";
        let mut lines = read_lines(Box::new(io::Cursor::new(text.into_bytes())));
        let (mut batch, mut seen) = (Vec::new(), Vec::new());
        while !next_batch(&mut lines, &mut batch).await.expect("memory does not fail") {
            assert!((1..=BATCH_LINES_MAX).contains(&batch.len()));
            seen.append(&mut batch);
        }
        assert_eq!(seen.len(), 601);
        assert_eq!((&seen[7][..], &seen[8][..], &seen[600][..]), (&b"line 7"[..], &b"line 8"[..], &b"last"[..]));
    }
}
