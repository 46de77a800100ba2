//! The snapshot of a data directory: bytes from a disk are believed no more than those from a peer.

use std::sync::Arc;

use bongsu_core::directory::{Directory, DirectoryLimits};
use bongsu_core::limits::ChannelLimits;
use bongsu_core::queue::{QueueLimits, Queues, QueuesLimits};
use bongsu_core::snapshot::{Item, Reader, SNAPSHOT_MAGIC, Seal, ServerState, SnapshotFault, Totals, Writer};
use bytes::BytesMut;

/// Whatever is accepted is, written again, read again as the same. The first byte chooses: the bytes as they are, or as records
/// that are sealed here, so that a checksum does not keep the mutator from what lies behind it.
pub(crate) fn snapshot_read(data: &[u8]) {
    let Some((&way, data)) = data.split_first() else { return };
    let bytes = if way % 2 == 0 { data.to_vec() } else { sealed(data) };
    let Ok(((directory, queues), server, _)) = restore(&bytes, usize::from(way / 2) + 1) else { return };
    let again = written(&directory, &queues, server);
    let ((directory, queues), _, totals) = restore(&again, usize::MAX).expect("own snapshots are read");
    assert_eq!((directory.len() as u64, queues.depth().messages as u64), (totals.channels, totals.messages));
    let ((twice, again_queues), _, again) = restore(&written(&directory, &queues, server), usize::MAX).expect("own snapshots are read");
    assert_eq!((twice.held_bytes(), again_queues.depth(), again), (directory.held_bytes(), queues.depth(), totals));
}

/// Records, each after two bytes that tell its length. With one too many for what is there, the rest is one.
fn sealed(mut data: &[u8]) -> Vec<u8> {
    let (mut bytes, mut seal) = (SNAPSHOT_MAGIC.to_vec(), Seal::default());
    while let Some((head, rest)) = data.split_first_chunk::<2>() {
        let (record, rest) = rest.split_at((u16::from_le_bytes(*head) as usize).min(rest.len()));
        seal.frame(record, &mut bytes);
        data = rest;
    }
    bytes
}

fn restore(bytes: &[u8], piece: usize) -> Result<((Directory, Queues), ServerState, Totals), SnapshotFault> {
    let limits = DirectoryLimits { channels_max: 100, unused_after_ms: 1000, forgotten_max: 100 };
    let mut directory = Directory::new([7; 16], limits, Arc::new(|_| ChannelLimits::default()));
    let mut queues = Queues::new(QueuesLimits { queues_max: 100 }, Arc::new(|_| QueueLimits::default()));
    let (mut reader, mut input, mut server) = (Reader::new(), BytesMut::new(), None);
    for piece in bytes.chunks(piece) {
        input.extend_from_slice(piece);
        while let Some(item) = reader.read(&mut input)? {
            match item {
                Item::Server(state) => server = Some(ServerState { shards: 1, ..state }),
                Item::Shard(lives) => directory.restore_lives(&lives),
                Item::Dormant(name, head) => directory.restore_dormant(&name, head)?,
                Item::Channel(state) => directory.restore_channel(*state)?,
                Item::Queue(state) => queues.restore(*state)?,
            }
        }
    }
    let totals = reader.finish(&input)?;
    Ok(((directory, queues), server.expect("a whole snapshot begins with its server"), totals))
}

fn written(directory: &Directory, queues: &Queues, server: ServerState) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), server).expect("memory takes it");
    directory.save(&mut writer).expect("memory takes it");
    queues.save(&mut writer).expect("memory takes it");
    writer.finish().expect("memory takes it").0
}
