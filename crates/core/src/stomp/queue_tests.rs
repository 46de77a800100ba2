//! Stories of a STOMP client and queues: what its frames ask for, and how a queue's messages are written.

use std::sync::Arc;

use bytes::BytesMut;

use super::destination::Prefix;
use super::session_tests::check_connected;
use super::*;
use crate::publication::Draft;
use crate::queue::{DeadLetter, DeadReason, Message, QueueName};

#[test]
fn sends_to_a_queue_and_consumes_it() {
    check_connected(
        "1.2",
        "< SEND destination:/queue/jobs/a receipt:r body:hi
         ! enqueue jobs/a hi receipt:r
         < SUBSCRIBE id:s destination:/queue/jobs/a receipt:q
         ! consume 0 jobs/a 2 receipt:q
         = consuming q
         > RECEIPT receipt-id:q
         < SUBSCRIBE id:t destination:/queue/jobs/a ack:client-individual prefetch-count:2
         ! consume 1 jobs/a 2 acknowledged
         < UNSUBSCRIBE id:t receipt:u
         ! cancel 1 jobs/a
         > RECEIPT receipt-id:u",
    );
}

#[test]
fn answers_are_passed_on_one_by_one_or_all_so_far() {
    check_connected(
        "1.2",
        "< SUBSCRIBE id:s destination:/queue/q ack:client-individual prefetch-count:3
         ! consume 0 q 3 acknowledged
         = queued 0 7
         = queued 0 8
         = queued 0 9
         < ACK id:8@s receipt:a
         ! answer 0 q [8] Done
         > RECEIPT receipt-id:a
         < NACK id:7@s
         ! answer 0 q [7] Failed
         < NACK id:9@s requeue:false
         ! answer 0 q [9] Rejected
         = nacked 2
         < ACK id:9@s
         > ERROR code:not-in-flight
         ! close",
    );
    // What came again has an old number; what was sent before it is answered for with it.
    check_connected(
        "1.1",
        "< SUBSCRIBE id:s destination:/queue/q ack:client prefetch-count:3
         ! consume 0 q 3 acknowledged
         = queued 0 9
         = queued 0 7
         = queued 0 10
         < ACK message-id:7 subscription:s
         ! answer 0 q [9, 7] Done",
    );
    check_connected(
        "1.0",
        "< SUBSCRIBE destination:/queue/q ack:client
         ! consume 0 q 2 acknowledged
         = queued 0 7
         < ACK message-id:7
         ! answer 0 q [7] Done",
    );
}

#[test]
fn a_transaction_sends_before_it_acknowledges_and_nothing_is_done_after_a_refusal() {
    let transaction = "< SUBSCRIBE id:s destination:/queue/in ack:client-individual
         ! consume 0 in 2 acknowledged
         = queued 0 7
         < BEGIN transaction:t
         < ACK id:7@s transaction:t
         < SEND destination:/queue/out transaction:t body:a
         < SEND destination:/news transaction:t body:b
         < COMMIT transaction:t receipt:c
         ! enqueue out a
         ! publish news=b receipt:c
         ! answer 0 in [7] Done";
    check_connected("1.2", transaction);
    check_connected(
        "1.2",
        "< BEGIN transaction:t
         < SEND destination:/queue/a transaction:t body:1
         < SEND destination:/queue/b transaction:t body:2
         < SEND destination:/queue/a transaction:t body:3",
    );
    check_connected(
        "1.2",
        "< BEGIN transaction:t
         < COMMIT transaction:t receipt:c
         > RECEIPT receipt-id:c",
    );
}

#[test]
fn what_is_refused_ends_the_session_and_what_was_to_follow() {
    let limits = StompLimits::default();
    let mut session = StompSession::new(limits, &Version::ALL, HeartBeatOffer { send_ms: 0, expect_ms: 0 });
    let frames = "CONNECT\naccept-version:1.2\nhost:h\n\n\0BEGIN\ntransaction:t\n\n\0\
                  SEND\ntransaction:t\ndestination:/queue/full\n\n\0SEND\ntransaction:t\ndestination:/queue/other\n\n\0\
                  SEND\ntransaction:t\ndestination:/news\n\n\0COMMIT\ntransaction:t\nreceipt:c\n\n\0";
    let mut buffer = BytesMut::from(frames);
    assert!(matches!(session.poll(&mut buffer), Some(Action::Connect(_))));
    session.accept("bongsu/0", "s");
    assert!(matches!(session.poll(&mut buffer), Some(Action::Reply(_))));
    let Some(Action::Enqueue { receipt, .. }) = session.poll(&mut buffer) else { panic!("the first of the transaction") };
    session.refuse(receipt.as_ref(), "queue-full", "it is full");
    let Some(Action::Reply(error)) = session.poll(&mut buffer) else { panic!("an ERROR") };
    assert!(error.starts_with(b"ERROR\nmessage:it is full\ncode:queue-full\n"), "{}", error.escape_ascii());
    assert!(matches!(session.poll(&mut buffer), Some(Action::Close { .. })));
    assert_eq!(session.poll(&mut buffer), None);
}

#[test]
fn what_a_queue_cannot_do_is_a_fault() {
    for (frame, code) in [
        ("SEND destination:/queue/q idempotency-key:k", "idempotency-key-to-queue"),
        ("SUBSCRIBE id:s destination:/queue/q earliest:true", "start-of-queue"),
        ("SUBSCRIBE id:s destination:/queue/q last:3", "start-of-queue"),
        ("SUBSCRIBE id:s destination:/queue/q prefetch-count:4", "invalid-prefetch-count"),
        ("NACK id:7@s requeue:perhaps", "invalid-requeue"),
        ("ACK id:7@s", "not-in-flight"),
    ] {
        check_connected("1.2", &format!("< {frame}\n> ERROR code:{code}\n! close"));
    }
}

fn written(form: &MessageForm, message: &Message, deliveries: u32) -> String {
    let mut out = BytesMut::new();
    form.write_queued(&QueueName::parse("jobs").expect("a name"), message, deliveries, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[test]
fn a_message_tells_how_often_it_came_and_where_it_died() {
    let form = MessageForm { version: Version::V1_2, subscription: Some("s".into()), prefix: Prefix::Queue, acknowledged: true };
    let headers = Box::new([("dead-from".into(), "/queue/forged".into()), ("colour".into(), "red".into())]);
    let mut message = Message { number: 7, time_ms: 0, draft: Draft { headers, ..Draft::text("hi") }, dead: None };
    let rest = "content-type:text/plain; charset=utf-8\ncontent-length:2\ntime:1970-01-01T00\\c00\\c00.000Z\ncolour:red\n\nhi\0";
    assert_eq!(
        written(&form, &message, 1),
        format!("MESSAGE\nsubscription:s\nmessage-id:7\nack:7@s\ndestination:/queue/jobs\ndelivery-count:1\n{rest}")
    );
    let queue = QueueName::parse("o").expect("a name");
    message.dead = Some(Box::new(DeadLetter { queue, reason: DeadReason::Rejected, tries: 3, time_ms: 0 }));
    assert_eq!(
        written(&form, &Arc::new(message), 2),
        format!(
            "MESSAGE\nsubscription:s\nmessage-id:7\nack:7@s\ndestination:/queue/jobs\ndelivery-count:2\nredelivered:true\n\
             dead-from:/queue/o\ndead-reason:rejected\ndead-tries:3\ndead-time:1970-01-01T00\\c00\\c00.000Z\n{rest}"
        )
    );
}
