//! What every transport must do, once, from one list of cases over one list of transports, in the clear and over TLS, against a server
//! in this process.
//!
//! A new transport is a row of `transports`, a new case a function in `cases` and its name here. Nothing sleeps to let something
//! happen: each case waits for what it needs, within [`PATIENCE`].

mod cases;
mod changing;
mod reader;
mod stage;

use std::time::Duration;

use bongsu_lab::client::Transport;

use reader::Carrier;
use stage::Stage;

/// Makes a test of every case over every transport, and the list [`CARRIERS`] for what goes over all of them at once.
macro_rules! shared {
    (cases: $cases:tt transports: { $($transport:ident: $carrier:expr,)* } in_the_clear_only: { $($clear:ident: $only:expr,)* }) => {
        /// Every transport.
        const CARRIERS: &[Carrier] = &[$($carrier,)* $($only,)*];

        $(mod $clear {
            use super::*;
            each!($only; in_the_clear; $cases);
        })*

        $(mod $transport {
            use super::*;
            each!($carrier; in_the_clear; $cases);

            mod over_tls {
                use super::*;
                each!($carrier; over_tls; $cases);
            }
        })*
    };
}

macro_rules! each {
    ($carrier:expr; $stage:ident; [$($case:ident,)*]) => {
        $(#[test]
        fn $case() {
            play(async { cases::$case(Stage::$stage($carrier)).await });
        })*
    };
}

shared! {
    cases: [
        parallel_publishers_have_one_order,
        resumes_after_a_cursor_without_hole_or_repetition,
        starts_where_it_is_asked_to,
        nothing_is_lost_between_history_and_live,
        a_trimmed_cursor_is_told_a_gap,
        a_cursor_of_another_epoch_is_told_a_gap,
        a_cursor_from_the_future_is_told_a_gap,
        carries_every_kind_of_payload,
        carries_the_largest_payload,
        carries_keys_and_headers,
        follows_several_channels,
        leaves_and_comes_back,
        a_repeated_publish_arrives_once,
        a_reader_that_pauses_catches_up,
        the_end_of_the_server_is_told,
    ]
    transports: {
        poll: Carrier::Client(Transport::Poll),
        long_poll: Carrier::Client(Transport::LongPoll),
        stream: Carrier::Client(Transport::Stream),
        multipart: Carrier::Client(Transport::Multipart),
        sse: Carrier::Client(Transport::Sse),
        native_websocket: Carrier::Client(Transport::WebSocket),
        plain_websocket: Carrier::Plain,
        tcp: Carrier::Client(Transport::Tcp),
        stomp: Carrier::Client(Transport::Stomp),
        stomp_websocket: Carrier::Client(Transport::StompWebSocket),
    }
    in_the_clear_only: {
        udp: Carrier::Client(Transport::Udp),
    }
}

/// How long a case may take in all.
const PATIENCE: Duration = Duration::from_secs(60);

/// Plays a case on this thread; the server has threads of its own.
fn play(case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let bounded = async { tokio::time::timeout(PATIENCE, case).await };
    runtime.block_on(bounded).expect("the case ends in time");
}
