//! One reader that changes its transport every hundred publications, while four publishers publish.

use bongsu_core::directory::DirectoryLimits;
use bongsu_core::encoding::Encoding;
use bongsu_core::hub::HubLimits;
use bongsu_core::limits::ChannelLimits;
use bongsu_core::{Draft, Offset, Position, Start};

use crate::chance::Chance;
use crate::connect::SINGLE;
use crate::reader::{Link, Reader};
use crate::world::World;

const PUBLISHERS: usize = 4;
const PUBLICATIONS_EACH: usize = 125;
const STAYS_FOR: Offset = 100;

/// How the reader is connected for a while.
#[derive(Clone, Copy)]
enum Way {
    Stream(Encoding),
    Poll { waits: bool },
}

/// Runs one seed. Since nothing is trimmed, there must be no gap.
pub(crate) fn run(seed: u64) {
    let mut chance = Chance::new(seed);
    let hub_limits = HubLimits {
        tape_bytes_max: chance.pick(&[0, 3000, 1 << 20]),
        tapes_bytes_max: 1 << 20,
        outbox_bytes_max: 1 << 16,
        stalled_ms_max: 30_000,
    };
    let directory_limits = DirectoryLimits { channels_max: 1, unused_after_ms: 1_000_000, forgotten_max: 0 };
    let channels = vec![("chat/lobby".to_owned(), ChannelLimits::default())];
    let mut world = World::new(chance, channels, directory_limits, hub_limits, 2);
    world.readers.push(Reader::new(vec![0]));
    let origin = world.model.channels[0].head();
    world.readers[0].follows[0].cursor = Some(origin);
    let mut left = [PUBLICATIONS_EACH; PUBLISHERS];
    let mut way = draw_way(&mut world);
    let mut since = origin.offset;
    while left.iter().sum::<usize>() > 0 {
        publish_some(&mut world, &mut left);
        (0..2).for_each(|worker| {
            if world.chance.percent(60) {
                world.drain(worker)
            }
        });
        let came = read_on(&mut world, way);
        if came.offset >= since + STAYS_FOR {
            (way, since) = (draw_way(&mut world), came.offset);
            world.disconnect(0);
        }
    }
    finish(&mut world, way);
    let head = world.model.channels[0].head();
    assert!(head.offset >= (PUBLISHERS * PUBLICATIONS_EACH) as Offset, "everything was published");
    assert_eq!(cursor(&world), head, "nothing is missing");
    world.end();
}

fn draw_way(world: &mut World) -> Way {
    match world.chance.below(SINGLE.len() + 2) {
        0 => Way::Poll { waits: false },
        1 => Way::Poll { waits: true },
        n => Way::Stream(SINGLE[n - 2]),
    }
}

fn publish_some(world: &mut World, left: &mut [usize; PUBLISHERS]) {
    for _ in 0..world.chance.between(1, 12) {
        let publisher = world.chance.below(PUBLISHERS);
        if left[publisher] > 0 {
            left[publisher] -= 1;
            world.publish(0, Draft::text(format!("{publisher}: {}", left[publisher])), None);
        }
    }
}

/// Connects where it was, if need be, and takes what comes: sometimes everything, sometimes only a few bytes.
fn read_on(world: &mut World, way: Way) -> Position {
    let worker = world.chance.below(2);
    let start = Start::After(cursor(world).into());
    match (way, &world.readers[0].link) {
        (Way::Poll { waits }, Link::None) => world.poll_from(0, worker, &start, waits),
        (Way::Stream(encoding), Link::None) => world.connect(0, worker, encoding, vec![start], 100),
        (_, Link::Stream(stream)) => {
            stream.pipe.borrow_mut().room += world.chance.pick(&[10, 1000, 100_000]);
            if stream.blocked {
                world.pump(0);
            }
            world.answer(0);
        }
        (_, Link::Waiting { .. }) => (),
    }
    assert!(world.readers[0].follows[0].gap.is_none(), "nothing is trimmed, so there is no gap");
    cursor(world)
}

fn finish(world: &mut World, way: Way) {
    for _ in 0..PUBLISHERS * PUBLICATIONS_EACH {
        world.come_to_rest();
        if cursor(world) == world.model.channels[0].head() {
            return;
        }
        read_on(world, way);
    }
}

fn cursor(world: &World) -> Position {
    world.readers[0].follows[0].cursor.expect("it has one from the beginning")
}
