//! `bongsu serve`: runs a server until a signal ends it.

use std::fmt::Write;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bongsu_server::advice;
use bongsu_server::config::{Change, Config, ConfigFault, Flag, LogFormat, Sources};
use bongsu_server::data_dir::DataDirFault;
use bongsu_server::serve::{Addresses, Reloaded, ServeFault, Server, Starting};
use bongsu_server::tls::TlsNotice;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::exit::{EXIT_CODES, Exit, Failure};
use super::log::{self, LogHandle};
use super::{say, systemd};

/// Run a server.
///
/// Its configuration is laid in layers, in rising weight: the defaults, the file, the environment (BONGSU_HTTP_WAIT_MAX sets
/// http.wait_max), --set, and the other flags. `bongsu config default` prints every key and what it does.
///
/// SIGTERM and SIGINT (Ctrl-C) end it gracefully: no new connections, and a goodbye to every client that says when to come
/// back. With --data-dir, the next server then goes on where this one ended, and nobody misses anything. A second signal leaves out
/// the goodbyes. SIGHUP has the configuration read again, and the log say what changed.
///
/// It asks nobody who they are. So it listens at addresses of this machine alone, unless --allow-anonymous says that others may use it.
///
/// Sockets that are handed over (LISTEN_FDS, as systemd does) take the place of --http, or, if LISTEN_FDNAMES calls them tcp, stomp or
/// udp, of --tcp, --stomp or --udp. A UDP socket is read by one worker; hand over as many as workers to use them all.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Serve {
    /// Where to listen for HTTP and WebSocket, or `off`; port 0 picks a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS|off")]
    http: Option<String>,
    /// Where to listen for the native protocol over TCP, a JSON object a line, or `off` [default: 127.0.0.1:7070 if free]
    #[arg(long, value_name = "ADDRESS|off")]
    tcp: Option<String>,
    /// Where to listen for the native protocol over UDP, objects in datagrams, or `off` [default: 127.0.0.1:7070 if free]
    #[arg(long, value_name = "ADDRESS|off")]
    udp: Option<String>,
    /// Speak UDP beyond this machine too, where nothing encrypts it.
    #[arg(long)]
    udp_cleartext: bool,
    /// Where to listen for STOMP over TCP, or `off` [default: 127.0.0.1:61613 if free]
    #[arg(long, value_name = "ADDRESS|off")]
    stomp: Option<String>,
    /// Speak TLS on every listener, with the certificate chain in this file (PEM); needs --tls-key.
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// The private key of the certificate (PEM).
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// Speak TLS on every listener, with a certificate that is made here, kept between runs, and vouches for itself.
    #[arg(long)]
    tls_self_signed: bool,
    /// Where to listen for HTTP in the clear beside TLS, to lead it to https:// [default: off]
    #[arg(long, value_name = "ADDRESS|off")]
    redirect: Option<String>,
    /// Where to listen for /metrics and /health with its details, apart from everything else, or `off` [default: off]
    #[arg(long, value_name = "ADDRESS|off")]
    admin: Option<String>,
    /// Listen where others than this machine can reach it, too: they may publish to and read every channel.
    #[arg(long)]
    allow_anonymous: bool,
    /// Write the addresses to this file, as JSON, once all listeners are ready.
    #[arg(long, value_name = "FILE")]
    ports_file: Option<PathBuf>,
    /// Read the configuration from this file [default: ./bongsu.toml if it exists]
    #[arg(long, value_name = "FILE", env = "BONGSU_CONFIG")]
    config: Option<PathBuf>,
    /// Keep in this folder what outlives the process, and go on from what is there.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Listen even if another server of the same user does, so that it can be stopped once this one runs.
    #[arg(long)]
    overlap: bool,
    /// How many workers, each an event loop on a thread of its own; 0 means one per core [default: 0]
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// Offer a WebSocket at /echo that sends back what it gets.
    #[arg(long)]
    echo: bool,
    /// How much to log: error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// The form of a log line: text or json [default: text]
    #[arg(long, value_name = "FORM")]
    log_format: Option<String>,
    /// Set any key of the configuration; may be given many times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_set)]
    set: Vec<(String, String)>,
}

impl Serve {
    /// Runs the server until it ends.
    pub(super) fn run(self) -> Result<(), Failure> {
        let sources = self.sources().map_err(usage)?;
        let config = Config::load(&sources).map_err(usage)?;
        let log = log::start(&config.log)?;
        // Before there are threads: the variables that tell of the sockets are taken away.
        let starting = systemd::inherited_sockets()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(lacking)?;
        let ended = runtime.block_on(self.serve(config, starting, &log));
        // After a second signal the server may still hold a thread; it is not waited for.
        runtime.shutdown_background();
        ended
    }

    async fn serve(&self, config: Config, starting: Starting, log: &LogHandle) -> Result<(), Failure> {
        // Before anyone can learn that we run, so that no signal finds us unprepared.
        let mut signals = Signals::listen().map_err(lacking)?;
        let (echo, banner_wanted) = (config.echo.enabled, config.log.format == LogFormat::Text);
        let speaks_tls = config.tls.listeners.clone();
        let Some(server) = start(config, starting, &mut signals).await? else { return Ok(()) };
        let addresses = server.addresses();
        if let Some(path) = &self.ports_file
            && let Err(error) = write_ports_file(path, &addresses)
        {
            server.abandon().map_err(cannot_serve)?;
            let advice = advice::on_writing(&error);
            return Err(Failure::new(Exit::Failure, format!("cannot write the ports file {}: {error}{advice}", path.display())));
        }
        if banner_wanted {
            say(&banner(&addresses, echo, server.tls().as_ref(), &speaks_tls));
        }
        let shown = |address: Option<SocketAddr>| address.map(tracing::field::display);
        let Addresses { http, tcp, udp, stomp, .. } = addresses;
        info!(http = shown(http), tcp = shown(tcp), udp = shown(udp), stomp = shown(stomp), "listening");
        systemd::notify("READY=1");
        self.until_ended(server, &mut signals, log).await
    }

    /// Waits for the server's end: the first signal begins it, the second leaves out the goodbyes.
    async fn until_ended(&self, server: Arc<Server>, signals: &mut Signals, log: &LogHandle) -> Result<(), Failure> {
        let joined = Arc::clone(&server);
        let mut ended = tokio::task::spawn_blocking(move || joined.join());
        let mut first: Option<Instant> = None;
        loop {
            tokio::select! {
                ended = &mut ended => return ended.map_err(failure)?.map_err(cannot_serve),
                signal = signals.next() => match first {
                    _ if signal == HANGUP => self.reload(&server, log),
                    None => {
                        info!(signal, "stopping: telling every client goodbye");
                        systemd::notify("STOPPING=1");
                        server.shutdown();
                        first = Some(Instant::now());
                    }
                    // One that is sent to the process and to its group, as `timeout` does, comes twice and means once.
                    Some(first) if first.elapsed() < ONE_SIGNAL => (),
                    Some(_) => {
                        warn!(signal, "stopping at once");
                        server.abandon().map_err(cannot_serve)?;
                        return Err(Failure::new(Exit::Failure, "stopped before every client was told goodbye"));
                    }
                },
            }
        }
    }

    /// Reads the configuration again. What is wrong with it changes nothing.
    fn reload(&self, server: &Server, log: &LogHandle) {
        let loaded = self.sources().and_then(|sources| Config::load(&sources));
        let config = match loaded {
            Ok(config) => config,
            Err(fault) => return error!("the configuration was not reloaded, and nothing has changed:\n{fault}"),
        };
        let level = config.log.level;
        let Reloaded { changed, needs_restart } = server.reload(config);
        for Change { key, from, to } in &needs_restart {
            warn!(key, running = from, configured = to, "not reloaded: needs a restart");
        }
        for Change { key, from, to } in &changed {
            info!(key, from, to, "reloaded");
        }
        if let Err(failure) = log.set_level(level) {
            warn!("the log level stays: {}", failure.message);
        }
        info!(changed = changed.len(), needs_restart = needs_restart.len(), "configuration read again");
    }

    fn sources(&self) -> Result<Sources, ConfigFault> {
        Sources::of_process(self.config.as_deref(), self.flags())
    }

    /// The flags as settings. The general `--set` comes first, so that a flag of its own outweighs it.
    fn flags(&self) -> Vec<Flag> {
        let flag = |name: &str, key: &str, value: &str| Flag { name: name.to_owned(), key: key.to_owned(), value: value.to_owned() };
        let own = [
            ("--http", "listen.http", self.http.as_deref()),
            ("--tcp", "listen.tcp", self.tcp.as_deref()),
            ("--tls-cert", "tls.cert", self.tls_cert.as_deref()),
            ("--tls-key", "tls.key", self.tls_key.as_deref()),
            ("--tls-self-signed", "tls.self_signed", self.tls_self_signed.then_some("true")),
            ("--redirect", "listen.redirect", self.redirect.as_deref()),
            ("--udp", "listen.udp", self.udp.as_deref()),
            ("--udp-cleartext", "udp.cleartext", self.udp_cleartext.then_some("true")),
            ("--admin", "listen.admin", self.admin.as_deref()),
            ("--allow-anonymous", "access.allow_anonymous", self.allow_anonymous.then_some("true")),
            ("--stomp", "listen.stomp", self.stomp.as_deref()),
            ("--data-dir", "data_dir", self.data_dir.as_deref()),
            ("--overlap", "listen.overlap", self.overlap.then_some("true")),
            ("--workers", "workers", self.workers.as_deref()),
            ("--echo", "echo.enabled", self.echo.then_some("true")),
            ("--log-level", "log.level", self.log_level.as_deref()),
            ("--log-format", "log.format", self.log_format.as_deref()),
        ];
        let set = self.set.iter().map(|(key, value)| flag("--set", key, value));
        set.chain(own.into_iter().filter_map(|(name, key, value)| Some(flag(name, key, value?)))).collect()
    }
}

/// Starts the server; none if a signal ended the start, which can be waiting for another server to leave the data directory.
async fn start(config: Config, starting: Starting, signals: &mut Signals) -> Result<Option<Arc<Server>>, Failure> {
    let cancelled = Arc::clone(&starting.cancelled);
    if !config.listen.overlap || config.data_dir.is_empty() {
        return Server::start_with(config, starting).map(|server| Some(Arc::new(server))).map_err(cannot_serve);
    }
    let mut starting = tokio::task::spawn_blocking(move || Server::start_with(config, starting));
    loop {
        tokio::select! {
            started = &mut starting => return match started.map_err(failure)? {
                Ok(server) if cancelled.load(Ordering::Relaxed) => {
                    server.abandon().map_err(cannot_serve)?;
                    Ok(None)
                }
                Ok(server) => Ok(Some(Arc::new(server))),
                Err(ServeFault::DataDir(DataDirFault::Cancelled { .. })) => Ok(None),
                Err(fault) => Err(cannot_serve(fault)),
            },
            signal = signals.next() => if signal != HANGUP {
                info!(signal, "stopping before it has begun");
                cancelled.store(true, Ordering::Relaxed);
            },
        }
    }
}

/// The signals that a server acts on.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The name of the next one.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hangup.recv() => HANGUP,
        }
    }
}

const HANGUP: &str = "SIGHUP";

/// Signals within so long count as one.
const ONE_SIGNAL: Duration = Duration::from_millis(500);

fn parse_set(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, as in history.publications_max=100")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// Writes the addresses beside the place they are meant for, then renames, so that a reader never sees half a file.
fn write_ports_file(path: &Path, addresses: &Addresses) -> io::Result<()> {
    let mut ports = serde_json::Map::new();
    let Addresses { http, tcp, udp, stomp, redirect, admin } = *addresses;
    let all = [("http", http), ("tcp", tcp), ("udp", udp), ("stomp", stomp), ("redirect", redirect), ("admin", admin)];
    for (name, address) in all {
        if let Some(address) = address {
            ports.insert(name.to_owned(), address.to_string().into());
        }
    }
    // A device or a pipe would be replaced by a file.
    if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return Err(io::Error::other("it is there, and is no ordinary file; name another, or one that is not there yet"));
    }
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let beside = path.with_file_name(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id()));
    let written = std::fs::write(&beside, format!("{}\n", serde_json::Value::Object(ports)));
    written.and_then(|()| std::fs::rename(&beside, path)).inspect_err(|_| _ = std::fs::remove_file(&beside))
}

/// What a person reads when the server is up: where it is, what to try, and who else can.
fn banner(addresses: &Addresses, echo: bool, tls: Option<&TlsNotice>, speaks_tls: &[String]) -> String {
    let mut text = format!("bongsu {}: one channel, every transport\n\n", env!("CARGO_PKG_VERSION"));
    let Some(http) = addresses.http else { return text };
    let sealed = |listener: &str| tls.filter(|_| speaks_tls.iter().any(|one| one == listener));
    let scheme = if sealed("http").is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}", reachable(http));
    let for_clients = if url == DEFAULT_URL { String::new() } else { format!(" --url {url}") };
    // A client has to be told of a certificate that no authority vouches for.
    let own = sealed("http").and_then(|tls| tls.self_signed.as_ref()).map(|cert| cert.display());
    let for_clients = own.as_ref().map_or(for_clients.clone(), |cert| format!("{for_clients} --ca {cert}"));
    let curl = own.as_ref().map_or("curl".to_owned(), |cert| format!("curl --cacert {cert}"));
    // Writing to a string cannot fail.
    _ = write!(
        text,
        "  HTTP and WebSocket   {url}\n\
         \n\
         Open it in two browsers, or try, each in a terminal of its own:\n\
         \x20 {curl} -N -H 'Accept: text/event-stream' {url}/channels/chat/lobby\n\
         \x20 bongsu subscribe{for_clients} chat/lobby\n\
         \x20 {curl} -H 'Content-Type: text/plain' -d 'hello' {url}/channels/chat/lobby\n\
         \n"
    );
    if let Some(tcp) = addresses.tcp.map(reachable) {
        let nc = match sealed("tcp") {
            Some(_) => format!("openssl s_client -quiet -connect {tcp}"),
            None => format!("nc {} {}", tcp.ip(), tcp.port()),
        };
        _ = writeln!(text, "TCP is open too: {nc}, then {{\"subscribe\":\"chat/lobby\",\"id\":1}}");
    }
    if let Some(tls) = tls {
        text += &tls_lines(tls);
    }
    if let Some(redirect) = addresses.redirect.map(reachable) {
        _ = writeln!(text, "http://{redirect} leads to {scheme}://.");
    }
    if let Some(udp) = addresses.udp {
        _ = writeln!(text, "UDP is open at {}: bongsu subscribe --transport udp --url udp://{0} chat/lobby", reachable(udp));
        if !udp.ip().is_loopback() {
            _ = writeln!(text, "WARNING: UDP is spoken in the clear, beyond this machine.");
        }
    }
    if let Some(stomp) = addresses.stomp.map(reachable) {
        _ = writeln!(text, "STOMP is open too: at {stomp}, the channel chat/lobby is /topic/chat/lobby");
    }
    if let Some(admin) = addresses.admin.map(reachable) {
        _ = writeln!(text, "The numbers are at http://{admin}/metrics, and nowhere else.");
    }
    if echo {
        _ = writeln!(text, "/echo is open: a WebSocket there sends back whatever it gets.");
    }
    text += if http.ip().is_loopback() {
        "Everything is open, to this machine only: whoever is on it may publish to and read every channel.\n"
    } else {
        "WARNING: everything is open, and not to this machine only: whoever reaches this address may publish to and read\n\
         every channel.\n"
    };
    text + "Ctrl-C stops it."
}

/// What a person needs to know to check that they reached this server.
fn tls_lines(tls: &TlsNotice) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    if let Some(cert) = &tls.self_signed {
        _ = writeln!(text, "TLS: the certificate vouches for itself; give clients its file: {}", cert.display());
    }
    if let Some(fingerprint) = &tls.fingerprint {
        _ = writeln!(text, "TLS: SHA-256 of the certificate: {fingerprint}");
    }
    if !tls.acme.is_empty() {
        _ = writeln!(text, "TLS: a certificate for {} is obtained by ACME; the log tells when it is there.", tls.acme.join(", "));
    }
    text
}

/// An address that a client on this machine can connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn cannot_serve(fault: ServeFault) -> Failure {
    let exit = match fault {
        ServeFault::CannotListen { .. } | ServeFault::Deaf { .. } => Exit::CannotListen,
        ServeFault::OpenToOthers { .. } | ServeFault::TooManyUdp { .. } | ServeFault::UdpInTheClear { .. } => Exit::Usage,
        ServeFault::DataDir(_) => Exit::DataDir,
        ServeFault::Tls(_) => Exit::Usage,
        _ => Exit::Failure,
    };
    Failure::new(exit, fault)
}

fn usage(fault: ConfigFault) -> Failure {
    Failure::new(Exit::Usage, fault)
}

fn failure(error: impl ToString) -> Failure {
    Failure::new(Exit::Failure, error)
}

fn lacking(error: io::Error) -> Failure {
    Failure::new(Exit::Failure, format!("the server cannot start: {error}{}", advice::on_anything(&error)))
}

const DEFAULT_URL: &str = "http://127.0.0.1:8080";

const EXAMPLES: &str = "\
Examples:
  bongsu serve
  bongsu serve --http 127.0.0.1:0 --ports-file ports.json
  bongsu serve --config bongsu.toml --log-level debug
  bongsu serve --data-dir /var/lib/bongsu
  bongsu serve --tls-self-signed
  bongsu serve --http 0.0.0.0:443 --tls-cert chain.pem --tls-key key.pem --redirect 0.0.0.0:80
  bongsu serve --set history.publications_max=100 --set history.age_max=1h
  BONGSU_LISTEN_HTTP=[::1]:8080 bongsu serve";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_says_what_to_try_and_who_else_can() {
        let at = |address: &str| Addresses { http: Some(address.parse().expect("an address")), ..Addresses::default() };
        let usual = banner(&at("127.0.0.1:8080"), false, None, &[]);
        assert!(usual.contains("  bongsu subscribe chat/lobby\n") && usual.contains("to this machine only:"), "{usual}");
        let open = banner(&at("0.0.0.0:9000"), true, None, &[]);
        assert!(open.contains("bongsu subscribe --url http://127.0.0.1:9000 chat/lobby"), "{open}");
        assert!(open.contains("WARNING") && open.contains("/echo"), "{open}");
    }

    #[test]
    fn a_setting_needs_its_equals_sign() {
        assert_eq!(parse_set("http.hosts = a"), Ok(("http.hosts".to_owned(), "a".to_owned())));
        assert!(parse_set("workers").is_err());
    }
}
