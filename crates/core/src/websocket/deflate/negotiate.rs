//! The agreement: what a client offers, what a server takes of it and answers, and what a client accepts as an answer.

use super::header::{
    CLIENT_MAX_WINDOW_BITS, CLIENT_NO_CONTEXT_TAKEOVER, ClientBits, EXTENSION, Parameters, SERVER_MAX_WINDOW_BITS,
    SERVER_NO_CONTEXT_TAKEOVER, elements,
};
use super::{Agreed, DeflateConfig, WINDOW_BITS_MAX, WINDOW_BITS_MIN};

/// An answer to our offer that we cannot agree to; RFC 7692, 5.1, has the client give up the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server's Sec-WebSocket-Extensions agrees to what was not offered, or says it wrongly")]
pub struct AnswerFault;

/// Takes the first of a client's offers that can be agreed to. The values are those of every `Sec-WebSocket-Extensions` header, in order.
pub fn negotiate<'a>(offered: impl IntoIterator<Item = &'a str>, config: &DeflateConfig) -> Option<Agreed> {
    if !config.enabled {
        return None;
    }
    elements(offered).flatten().find_map(|offer| accept(offer, config))
}

/// A client's offer, as the value of `Sec-WebSocket-Extensions`; `None` if compression is not enabled.
pub fn offer(config: &DeflateConfig) -> Option<String> {
    // `client_max_window_bits` is left out: the server could then demand 8 bits of us, which zlib does not have.
    let offered = Agreed {
        server_no_context_takeover: !config.context_takeover,
        client_no_context_takeover: !config.context_takeover,
        server_max_window_bits: (config.window_bits_max < WINDOW_BITS_MAX).then(|| window_bits_max(config)),
        client_max_window_bits: None,
    };
    config.enabled.then(|| offered.answer())
}

/// Reads a server's answer to the [`offer`] of the same configuration; `Ok(None)` where it agrees to no compression.
pub fn read_answer<'a>(answer: impl IntoIterator<Item = &'a str>, config: &DeflateConfig) -> Result<Option<Agreed>, AnswerFault> {
    let mut elements = elements(answer);
    let Some(answered) = elements.next() else { return Ok(None) };
    let answered = answered.ok_or(AnswerFault)?;
    let wanted_window =
        config.window_bits_max >= WINDOW_BITS_MAX || answered.server_max_window_bits.is_some_and(|bits| bits <= config.window_bits_max);
    let wanted_reset = config.context_takeover || answered.server_no_context_takeover;
    if !config.enabled || elements.next().is_some() || answered.client_max_window_bits.is_some() || !wanted_window || !wanted_reset {
        return Err(AnswerFault);
    }
    Ok(Some(Agreed {
        server_no_context_takeover: answered.server_no_context_takeover,
        client_no_context_takeover: answered.client_no_context_takeover || !config.context_takeover,
        server_max_window_bits: answered.server_max_window_bits,
        client_max_window_bits: None,
    }))
}

impl Agreed {
    /// What the server answers, as the value of `Sec-WebSocket-Extensions`.
    pub fn answer(&self) -> String {
        let mut answer = EXTENSION.to_owned();
        for (agreed, flag) in
            [(self.server_no_context_takeover, SERVER_NO_CONTEXT_TAKEOVER), (self.client_no_context_takeover, CLIENT_NO_CONTEXT_TAKEOVER)]
        {
            if agreed {
                answer.push_str("; ");
                answer.push_str(flag);
            }
        }
        for (bits, name) in [(self.server_max_window_bits, SERVER_MAX_WINDOW_BITS), (self.client_max_window_bits, CLIENT_MAX_WINDOW_BITS)] {
            if let Some(bits) = bits {
                answer.push_str(&format!("; {name}={bits}"));
            }
        }
        answer
    }
}

/// Agrees to an offer, or declines it because its window is smaller than we can or will compress with (RFC 7692, 7.1.2.1).
fn accept(offer: Parameters, config: &DeflateConfig) -> Option<Agreed> {
    let most = window_bits_max(config);
    let server_window = offer.server_max_window_bits.map_or(most, |bits| bits.min(most));
    if server_window < config.window_bits_min.max(WINDOW_BITS_MIN) {
        return None;
    }
    // A window is named where the client named one, which RFC 7692 then demands, or where ours is smaller than it would assume.
    let server_named = offer.server_max_window_bits.is_some() || server_window < WINDOW_BITS_MAX;
    // 7.1.2.2: the client's window may be named only where the client has said that it understands.
    let client_window = match offer.client_max_window_bits {
        Some(ClientBits::Most(bits)) => Some(bits.min(most)),
        Some(ClientBits::ServersChoice) => Some(most).filter(|&bits| bits < WINDOW_BITS_MAX),
        None => None,
    };
    Some(Agreed {
        server_no_context_takeover: offer.server_no_context_takeover || !config.context_takeover,
        client_no_context_takeover: offer.client_no_context_takeover || !config.context_takeover,
        server_max_window_bits: server_named.then_some(server_window),
        client_max_window_bits: client_window,
    })
}

fn window_bits_max(config: &DeflateConfig) -> u8 {
    config.window_bits_max.clamp(WINDOW_BITS_MIN, WINDOW_BITS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: DeflateConfig =
        DeflateConfig { enabled: true, context_takeover: false, window_bits_min: 9, window_bits_max: 15, level: 6, threshold_bytes: 0 };
    const WITH_CONTEXT: DeflateConfig = DeflateConfig { context_takeover: true, ..PLAIN };
    const SMALL: DeflateConfig = DeflateConfig { window_bits_max: 11, ..WITH_CONTEXT };
    const LARGE: DeflateConfig = DeflateConfig { window_bits_min: 12, ..WITH_CONTEXT };

    fn answer(offered: &[&str], config: &DeflateConfig) -> Option<String> {
        negotiate(offered.iter().copied(), config).map(|agreed| agreed.answer())
    }

    #[test]
    fn an_offer_is_answered() {
        let resets = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        for (offer, config, answered) in [
            ("permessage-deflate", PLAIN, Some(resets)),
            ("permessage-deflate; client_max_window_bits", PLAIN, Some(resets)),
            ("permessage-deflate", WITH_CONTEXT, Some("permessage-deflate")),
            ("permessage-deflate; server_no_context_takeover", WITH_CONTEXT, Some("permessage-deflate; server_no_context_takeover")),
            ("permessage-deflate; client_no_context_takeover", WITH_CONTEXT, Some("permessage-deflate; client_no_context_takeover")),
            ("permessage-deflate; server_max_window_bits=15", WITH_CONTEXT, Some("permessage-deflate; server_max_window_bits=15")),
            ("permessage-deflate; server_max_window_bits=9", WITH_CONTEXT, Some("permessage-deflate; server_max_window_bits=9")),
            ("permessage-deflate; server_max_window_bits=8", WITH_CONTEXT, None),
            ("permessage-deflate; server_max_window_bits=11", LARGE, None),
            ("permessage-deflate; client_max_window_bits=8", WITH_CONTEXT, Some("permessage-deflate; client_max_window_bits=8")),
            ("permessage-deflate", SMALL, Some("permessage-deflate; server_max_window_bits=11")),
            (
                "permessage-deflate; client_max_window_bits",
                SMALL,
                Some("permessage-deflate; server_max_window_bits=11; client_max_window_bits=11"),
            ),
            (
                "permessage-deflate; server_max_window_bits=10; client_max_window_bits=13",
                SMALL,
                Some("permessage-deflate; server_max_window_bits=10; client_max_window_bits=11"),
            ),
            ("permessage-deflate; mystery", WITH_CONTEXT, None),
            ("x-webkit-deflate-frame", WITH_CONTEXT, None),
            ("permessage-deflate", DeflateConfig { enabled: false, ..PLAIN }, None),
        ] {
            assert_eq!(answer(&[offer], &config).as_deref(), answered, "{offer} under {config:?}");
        }
    }

    #[test]
    fn the_first_offer_that_fits_is_taken() {
        let ladder = [
            "permessage-deflate; server_max_window_bits=8, permessage-deflate; mystery",
            "foo, permessage-deflate; server_max_window_bits=10, permessage-deflate",
        ];
        assert_eq!(answer(&ladder, &WITH_CONTEXT).as_deref(), Some("permessage-deflate; server_max_window_bits=10"));
        assert_eq!(answer(&[], &WITH_CONTEXT), None);
    }

    #[test]
    fn a_client_gets_what_it_offered() {
        for config in [PLAIN, WITH_CONTEXT, SMALL, LARGE, DeflateConfig { window_bits_max: 9, ..PLAIN }] {
            let offered = offer(&config).expect("enabled");
            let agreed = negotiate([offered.as_str()], &WITH_CONTEXT).expect("our own offer fits");
            assert_eq!(read_answer([agreed.answer().as_str()], &config), Ok(Some(agreed)), "{offered}");
        }
        assert_eq!(offer(&DeflateConfig { enabled: false, ..PLAIN }), None);
        assert_eq!(read_answer([], &PLAIN), Ok(None));
    }

    #[test]
    fn a_client_refuses_what_it_did_not_offer() {
        for (answered, config) in [
            ("permessage-deflate; client_max_window_bits=10", WITH_CONTEXT),
            ("permessage-deflate; mystery", WITH_CONTEXT),
            ("permessage-deflate, permessage-deflate", WITH_CONTEXT),
            ("permessage-deflate", PLAIN),
            ("permessage-deflate", SMALL),
            ("permessage-deflate; server_max_window_bits=12", SMALL),
            ("permessage-deflate; server_no_context_takeover", DeflateConfig { enabled: false, ..PLAIN }),
        ] {
            assert_eq!(read_answer([answered], &config), Err(AnswerFault), "{answered} under {config:?}");
        }
    }
}
