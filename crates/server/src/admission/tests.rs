//! Small stories of who comes in and who publishes.

use super::*;
use crate::config::{Config, Limits};

fn limits(set: impl FnOnce(&mut Limits)) -> AdmissionLimits {
    let mut config = Config::default();
    config.limits.burst = crate::config::Period::secs(1);
    set(&mut config.limits);
    AdmissionLimits::new(&config)
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn an_address_has_so_many_connections_and_gives_them_back() {
    let (admission, limits) = (Arc::new(Admission::default()), limits(|limits| limits.connections_per_address_max = 2));
    let arrive = |text: &str| admission.arrive(address(text), &limits, 1);
    let first = arrive("192.0.2.1").expect("room").expect("a guest");
    let _second = arrive("192.0.2.1").expect("room");
    assert_eq!(arrive("192.0.2.1").err(), Some(Refusal::FullForAddress { max: 2 }));
    assert!(arrive("192.0.2.2").is_ok(), "another address has its own");
    assert_eq!(admission.pass_on(first.address(), &limits).err(), Some(Refusal::FullForAddress { max: 2 }));
    drop(first);
    assert!(arrive("::ffff:192.0.2.1").is_ok(), "it is the same address");
    for _ in 0..10 {
        assert!(arrive("127.0.0.1").expect("exempt").is_none());
    }
}

#[test]
fn of_ipv6_a_network_of_64_bits_is_one_address() {
    let (admission, limits) = (Arc::new(Admission::default()), limits(|limits| limits.connections_per_address_max = 1));
    let _first = admission.arrive(address("2001:db8:0:1::1"), &limits, 1).expect("room");
    assert!(admission.arrive(address("2001:db8:0:1:ffff::2"), &limits, 1).is_err());
    assert!(admission.arrive(address("2001:db8:0:2::1"), &limits, 1).is_ok());
}

#[test]
fn new_connections_have_a_pace_of_their_own_and_one_of_all() {
    let admission = Arc::new(Admission::default());
    let limits = limits(|limits| (limits.connections_per_second_per_address, limits.connections_per_second) = (3, 5));
    let arrive = |text: &str| admission.arrive(address(text), &limits, 1_000).map(drop);
    assert!((0..3).all(|_| arrive("192.0.2.1") == Ok(())));
    assert!(matches!(arrive("192.0.2.1"), Err(Refusal::TooFastForAddress { .. })));
    assert!((0..2).all(|_| arrive("192.0.2.2") == Ok(())));
    assert!(matches!(arrive("192.0.2.2"), Err(Refusal::TooFast { .. })));
    assert!(admission.arrive(address("192.0.2.1"), &limits, 3_000).is_ok());
}

#[test]
fn an_address_with_many_connections_publishes_at_the_pace_of_one() {
    let admission = Arc::new(Admission::default());
    let limits = limits(|limits| (limits.publications_per_second, limits.publications_per_second_per_address) = (10, 15));
    let guests = [0; 2].map(|_| admission.arrive(address("192.0.2.1"), &limits, 1).expect("room").expect("a guest"));
    let published = |guest: &Guest| {
        (0..20)
            .take_while(|_| {
                guest.wait_ms(&limits, 1) == 0 && {
                    guest.charge(1, &limits, 1);
                    true
                }
            })
            .count()
    };
    assert_eq!((published(&guests[0]), published(&guests[1])), (10, 5));
    drop(guests);
    admission.sweep(1);
    let remembered = |admission: &Admission| admission.shards.iter().map(|shard| locked(shard).len()).sum::<usize>();
    assert_eq!(remembered(&admission), 1, "who was here a moment ago is not forgotten by hanging up");
    admission.sweep(60_000);
    assert_eq!(remembered(&admission), 0);
}
