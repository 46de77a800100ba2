//! What RFC 6455 demands, in the order in which the Autobahn suite asks for it.

use super::*;

// 1: framing

#[test]
fn whole_messages_of_every_length_form() {
    check(
        "< 81
         > text ''
         < 81 'Hello'
         > text 'Hello'
         < 82 61*125
         > binary 61*125
         < 81 61*126
         > text 61*126
         < 82 fe*128
         > binary fe*128
         < 81 2a*65535
         > text 2a*65535
         < 82 2a*65536
         > binary 2a*65536",
    );
}

#[test]
fn a_length_must_be_in_its_shortest_form() {
    check_as(Role::Client, "< raw 81 7e 007d\n ! NonMinimalLength");
    check_as(Role::Client, "< raw 82 7f 000000000000ffff\n ! NonMinimalLength");
    check_as(Role::Server, "< raw 81 fe 0000 37fa213d\n ! NonMinimalLength");
    check_as(Role::Server, "< raw 82 ff 8000000000000000\n ! LengthTopBit");
}

#[test]
fn the_servers_frames_are_bare_and_the_clients_masked() {
    check_as(Role::Server, "< raw 81 05 'Hello'\n ! UnmaskedFrame");
    check_as(Role::Client, "< raw 81 85 37fa213d 7f9f4d5158\n ! MaskedFrame");
    check_as(Role::Server, "< raw 81 85 37fa213d 7f9f4d5158\n > text 'Hello'");
    check_as(Role::Server, "< raw 89 00\n ! UnmaskedFrame");
}

// 2: pings and pongs

#[test]
fn pings_and_pongs_of_any_payload() {
    check(
        "< 89
         > ping ''
         < 89 'Hello'
         > ping 'Hello'
         < 89 00fffefd
         > ping 00fffefd
         < 89 61*125
         > ping 61*125
         < 8a 'unasked'
         > pong 'unasked'",
    );
    check("< 89 61*126\n ! ControlTooLong");
    check("< 8a 61*126\n ! ControlTooLong");
}

// 3: reserved bits

#[test]
fn reserved_bits_are_refused_on_every_frame() {
    for first in ["91", "a1", "b1", "c1", "d1", "e1", "f1", "c2", "c9", "ca", "c8", "99"] {
        check(&format!("< {first} 'x'\n ! ReservedBits"));
    }
    check(
        "< 81 'good'
         > text 'good'
         < c1 'bad'
         ! ReservedBits",
    );
}

// 4: opcodes

#[test]
fn reserved_opcodes_are_refused() {
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        check(&format!("< {:x} 'x'\n ! ReservedOpcode {{ opcode: {opcode} }}", 0x80 | opcode));
    }
}

// 5: fragmentation

#[test]
fn fragments_make_one_message() {
    check(
        "< 01 'Hel'
         < 00 'l'
         < 00
         < 80 'o'
         > text 'Hello'
         < 02 00
         < 80 ff
         > binary 00ff
         < 01
         < 80
         > text ''",
    );
}

#[test]
fn control_frames_pass_between_fragments() {
    check(
        "< 01 'Hel'
         < 89 'are you there'
         > ping 'are you there'
         < 00 'l'
         < 8a
         > pong ''
         < 80 'o'
         > text 'Hello'",
    );
    check(
        "< 01 'Hel'
         < 88 03e8
         > close 1000 ''",
    );
}

#[test]
fn control_frames_are_never_fragmented() {
    check("< 09 'x'\n ! FragmentedControl");
    check("< 0a 'x'\n ! FragmentedControl");
    check("< 08 03e8\n ! FragmentedControl");
}

#[test]
fn fragments_keep_their_order() {
    check("< 80 'x'\n ! UnexpectedContinuation");
    check("< 00 'x'\n ! UnexpectedContinuation");
    check("< 01 'x'\n < 81 'y'\n ! ExpectedContinuation");
    check("< 01 'x'\n < 02 'y'\n ! ExpectedContinuation");
    check("< 81 'x'\n > text 'x'\n < 80 'y'\n ! UnexpectedContinuation");
}

// 6: UTF-8

#[test]
fn text_of_every_length_of_character() {
    check("< 81 'Hello-µ@ßöäüàá-UTF-8!! 봉수 🔥'\n > text 'Hello-µ@ßöäüàá-UTF-8!! 봉수 🔥'");
    check("< 81 efbfbe\n > text '\u{fffe}'");
}

#[test]
fn a_character_may_be_cut_between_fragments() {
    check(
        "< 01 f0
         < 00 9f94
         < 89 'in between'
         > ping 'in between'
         < 80 a5 'fire'
         > text '🔥fire'",
    );
}

#[test]
fn bad_text_is_refused_wherever_it_stands() {
    for payload in ["80", "c0af", "eda080", "f4908080", "cebae1bdb9cf83cebcceb5 eda080 656469746564", "ff", "'ends inside ' e282"] {
        check(&format!("< 81 {payload}\n ! InvalidUtf8"));
    }
    check("< 01 'x' e2\n < 80 28a1\n ! InvalidUtf8");
    check("< 01 'x' e282\n < 80\n ! InvalidUtf8");
}

#[test]
fn bad_text_is_refused_before_its_frame_has_arrived() {
    check_as(Role::Client, "< raw 81 7f 0000000000010000 'a few bytes, then ' f490\n ! InvalidUtf8");
    check_as(Role::Client, "< raw 01 05 'Hello' 00 7e 0400 eda0\n ! InvalidUtf8");
}

#[test]
fn binary_is_not_held_to_utf8() {
    check("< 02 ff\n < 80 fe\n > binary fffe");
}

// 7: closing

#[test]
fn a_close_tells_its_code_and_reason() {
    check("< 88\n > close");
    check("< 88 03e8\n > close 1000 ''");
    check("< 88 0fa9 'gap: trimmed'\n > close 4009 'gap: trimmed'");
    check(
        "< 88 03e8 61*123\n > close 1000 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'",
    );
}

#[test]
fn a_bad_close_is_named() {
    check("< 88 03\n ! BadClosePayload");
    check("< 88 03e8 61*124\n ! ControlTooLong");
    check("< 88 03e8 ceba eda080\n ! InvalidUtf8");
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        check(&format!("< 88 {code:04x}\n ! BadCloseCode {{ code: {code} }}"));
    }
}

// 9 and 10: limits, and messages in many pieces

#[test]
fn limits_are_kept_by_what_the_head_says() {
    check_as(Role::Client, "< raw 82 7f 00000000000101d1\n ! FrameTooLarge { len: 66001, max: 66000 }");
    check_as(Role::Client, "< raw 82 7f 7fffffffffffffff\n ! FrameTooLarge { len: 9223372036854775807, max: 66000 }");
    check(
        "< 02 00*66000
         < 00 00*4000
         < 80 01
         ! MessageTooLarge { len: 70001, max: 70000 }",
    );
    check(
        "< 02 00*66000
         < 80 00*4000
         > binary 00*70000",
    );
}

#[test]
fn a_message_has_only_so_many_fragments() {
    check(&format!("< 01 'a'\n {} < 80 'a'\n > text 'aaaaaaaa'", "< 00 'a'\n".repeat(6)));
    check(&format!("< 01 'a'\n {} < 80 'a'\n ! TooManyFragments {{ max: 8 }}", "< 00 'a'\n".repeat(7)));
}

#[test]
fn every_fault_has_its_close_code() {
    use WebSocketFault::*;
    for (fault, code) in [
        (UnmaskedFrame, 1002),
        (MaskedFrame, 1002),
        (ReservedBits, 1002),
        (ReservedOpcode { opcode: 3 }, 1002),
        (FragmentedControl, 1002),
        (ControlTooLong, 1002),
        (UnexpectedContinuation, 1002),
        (ExpectedContinuation, 1002),
        (InvalidUtf8, 1007),
        (BadCloseCode { code: 1 }, 1002),
        (BadClosePayload, 1002),
        (NonMinimalLength, 1002),
        (LengthTopBit, 1002),
        (FrameTooLarge { len: 2, max: 1 }, 1009),
        (MessageTooLarge { len: 2, max: 1 }, 1009),
        (TooManyFragments { max: 1 }, 1008),
    ] {
        assert_eq!(fault.close_code(), code, "{fault}");
        assert!(close::may_be_sent(code));
    }
}

#[test]
fn a_message_in_one_frame_is_cut_from_the_input_without_copying() {
    let mut input = BytesMut::new();
    write_masked_frame(&mut input, Opcode::Text, b"Hello, and some more", MASK);
    let place = input.as_ptr() as usize;
    let message = Decoder::new(Role::Server, LIMITS).decode(&mut input).expect("no fault").expect("a message");
    let Message::Text(payload) = message else { panic!("text") };
    assert_eq!(payload.as_ptr() as usize, place + 6);
}

#[test]
fn a_promised_length_takes_no_memory() {
    let limits = Limits { message_bytes_max: 1 << 40, frame_bytes_max: 1 << 40, fragments_max: 8 };
    let mut decoder = Decoder::new(Role::Client, limits);
    let mut input = BytesMut::new();
    write_head(&mut input, Opcode::Binary, 1 << 39);
    input.extend_from_slice(b"that would have been half a terabyte");
    assert_eq!(decoder.decode(&mut input), Ok(None));
    assert_eq!((decoder.bytes_held(), input.len()), (36, 0));
    assert!(decoder.capacity_held() <= 72, "{}", decoder.capacity_held());
}
