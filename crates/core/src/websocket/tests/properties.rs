//! What holds for any bytes, and for any bytes in any pieces.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const TIGHT: Limits = Limits { message_bytes_max: 300, frame_bytes_max: 200, fragments_max: 4 };

/// A frame that is often right and sometimes not.
fn any_frame(masked: bool) -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop_oneof![Just(Opcode::Continuation), Just(Opcode::Text), Just(Opcode::Binary), Just(Opcode::Ping), Just(Opcode::Close)];
    let payload = prop_oneof![
        3 => "\\PC{0,40}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..250),
    ];
    (opcode, prop::bool::weighted(0.7), any::<[u8; 4]>(), payload).prop_map(move |(opcode, fin, mask, payload)| {
        let mut out = BytesMut::new();
        let fin = fin || opcode.is_control();
        write_shaped_frame(&mut out, FrameShape { opcode, fin, compressed: false, mask: masked.then_some(mask) }, &payload);
        out.to_vec()
    })
}

/// Frames laid end to end, perhaps with one byte changed.
fn any_stream(masked: bool) -> impl Strategy<Value = Vec<u8>> {
    let frames = prop::collection::vec(any_frame(masked), 0..8).prop_map(|frames| frames.concat());
    (frames, any::<Option<(Index, u8)>>()).prop_map(|(mut bytes, change)| {
        if let Some((place, byte)) = change.filter(|_| !bytes.is_empty()) {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes
    })
}

fn cut_at(bytes: &[u8], cuts: &[Index]) -> Vec<Vec<u8>> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
    places.sort_unstable();
    places.windows(2).map(|pair| bytes[pair[0]..pair[1]].to_vec()).collect()
}

proptest! {
    #[test]
    fn chunks_change_nothing(server: bool, streams in (any_stream(true), any_stream(false)), cuts in prop::collection::vec(any::<Index>(), 0..6)) {
        let (role, bytes) = if server { (Role::Server, streams.0) } else { (Role::Client, streams.1) };
        let whole = tell(Decoder::new(role, TIGHT), TIGHT, [&bytes[..]]);
        prop_assert_eq!(&tell(Decoder::new(role, TIGHT), TIGHT, bytes.chunks(1)), &whole);
        prop_assert_eq!(&tell(Decoder::new(role, TIGHT), TIGHT, cut_at(&bytes, &cuts).iter().map(Vec::as_slice)), &whole);
    }

    #[test]
    fn no_bytes_make_it_panic_or_hoard(server: bool, bytes: Vec<u8>, piece in 1usize..40) {
        let role = if server { Role::Server } else { Role::Client };
        tell(Decoder::new(role, TIGHT), TIGHT, bytes.chunks(piece));
    }

    #[test]
    fn what_is_laid_is_read_again(text in "\\PC{0,100}", binary: Vec<u8>, mask: [u8; 4], parts in 1usize..5) {
        let mut input = BytesMut::new();
        write_masked_frame(&mut input, Opcode::Text, text.as_bytes(), mask);
        let parted: Vec<&[u8]> = binary.chunks(binary.len().div_ceil(parts).max(1)).collect();
        for (place, part) in parted.iter().enumerate() {
            let opcode = if place == 0 { Opcode::Binary } else { Opcode::Continuation };
            write_shaped_frame(&mut input, FrameShape { opcode, fin: place + 1 == parted.len(), compressed: false, mask: Some(mask) }, part);
        }
        let mut decoder = Decoder::new(Role::Server, LIMITS);
        prop_assert_eq!(decoder.decode(&mut input), Ok(Some(Message::Text(text.into()))));
        let read = decoder.decode(&mut input).expect("a good frame");
        prop_assert_eq!(read, (!binary.is_empty()).then(|| Message::Binary(binary.into())));
        prop_assert!(input.is_empty() && !decoder.is_mid_message());
    }

    #[test]
    fn a_close_is_read_as_it_was_meant(code in prop_oneof![1000u16..=1003, 1007u16..=1014, 3000u16..=4999], reason: String) {
        let mut input = BytesMut::new();
        write_close(&mut input, code, &reason);
        let reason = close::cut_reason(&reason).to_owned();
        let message = Decoder::new(Role::Client, LIMITS).decode(&mut input);
        prop_assert_eq!(message, Ok(Some(Message::Close(Some(CloseFrame { code, reason })))));
    }
}
