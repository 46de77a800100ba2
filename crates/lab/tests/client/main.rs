//! The client against servers that play a script: each transport, and what lies above them.

mod contract;
mod cuts;
mod peer;
mod publishing;
mod raw;
mod sessions;
mod transports;

use std::time::Duration;

use bongsu_lab::client::{BackoffLimits, Client, ClientFault, Event, Limits, Notice, Options, Subscriber};

/// A client that does not wait longer than a test should.
pub(crate) fn client(url: &str) -> Client {
    let limits = Limits { wait: Duration::from_secs(7), ..Limits::default() };
    Client::new(url).expect("an address").with_options(Options { limits, interval: Duration::from_millis(1), newest_only: false })
}

pub(crate) const AT_ONCE: BackoffLimits = BackoffLimits { first_max: Duration::from_millis(1), max: Duration::from_millis(1) };

/// What a subscriber says, one word or few a notice, up to a fault or the count.
pub(crate) async fn transcript(subscriber: &mut Subscriber, count: usize) -> String {
    let mut words = Vec::new();
    while words.len() < count {
        match subscriber.next().await {
            Ok(notice) => words.push(word(&notice)),
            Err(fault) => {
                words.push(fault_word(&fault).to_owned());
                break;
            }
        }
    }
    words.join(" | ")
}

fn word(notice: &Notice) -> String {
    match notice {
        Notice::Event(Event::Started { channel, cursor }) => format!("{channel} from {cursor}"),
        Notice::Event(Event::Publication(published)) => format!("{} {}", published.position, published.text()),
        Notice::Event(Event::Gap(gap)) => format!("gap {} to {} ({})", gap.asked, gap.resumed, gap.reason),
        Notice::Event(Event::CaughtUp { cursor, .. }) => format!("caught up {cursor}"),
        Notice::Event(Event::Bye(bye)) => format!("bye {}", bye.code),
        Notice::Event(Event::Heartbeat) => "heartbeat".to_owned(),
        Notice::Connected { transport } => format!("over {transport}"),
        Notice::Lost { .. } => "lost".to_owned(),
        Notice::FellBack { from, to, .. } => format!("{from} to {to}"),
    }
}

fn fault_word(fault: &ClientFault) -> &'static str {
    match fault {
        ClientFault::Hole { .. } => "HOLE",
        ClientFault::Duplicate { .. } => "DUPLICATE",
        ClientFault::Refused(_) => "REFUSED",
        ClientFault::Told { .. } => "TOLD",
        ClientFault::Contract(_) => "CONTRACT",
        ClientFault::SentAway(_) => "SENT AWAY",
        ClientFault::Connect { .. } => "NO CONNECTION",
        ClientFault::Broken(_) => "BROKEN",
        ClientFault::Silent { .. } => "SILENT",
        _ => "FAULT",
    }
}
