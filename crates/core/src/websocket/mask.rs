//! Masking: a client's payload is XORed with four bytes of its choice. RFC 6455, 5.3.

/// Applies a masking key, or takes it off again, eight bytes at a time.
pub(super) fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= key;
    }
}

/// The key for the rest of a payload of which `taken` bytes have been unmasked.
pub(super) fn advance_mask(mut mask: [u8; 4], taken: usize) -> [u8; 4] {
    mask.rotate_left(taken % 4);
    mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_do_as_bytes_do(payload: Vec<u8>, mask: [u8; 4], cut in 0usize..64) {
            let expected: Vec<u8> = payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
            let cut = cut.min(payload.len());
            let mut masked = payload;
            let (head, tail) = masked.split_at_mut(cut);
            apply_mask(head, mask);
            apply_mask(tail, advance_mask(mask, cut));
            prop_assert_eq!(masked, expected);
        }
    }
}
