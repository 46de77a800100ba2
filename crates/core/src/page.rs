//! The body that a poll or long poll is answered with: publications, the cursor to go on from, and any gap.

use bytes::{BufMut, BytesMut};

use crate::format::json::{json_object, json_object_len, write_gap};
use crate::json::write_string;
use crate::name::ChannelName;
use crate::publication::Publication;
use crate::start::Gap;

/// The gaps of a page: one channel has at most one, several channels have one each.
#[derive(Debug, Clone, Copy)]
pub enum PageGaps<'a> {
    /// The page of one channel.
    Channel(Option<&'a Gap>),
    /// The page of several channels.
    Channels(&'a [(ChannelName, Gap)]),
}

/// Writes a page: `{"publications":[…],"cursor":"…","more":false}` with `gap`, or `gaps` for several channels, where there was one.
///
/// `cursor` is what the next request gives as `after`; `more` says that asking at once brings more.
pub fn write_page<'a>(
    publications: impl IntoIterator<Item = (&'a ChannelName, &'a Publication)>,
    cursor: &str,
    more: bool,
    gaps: PageGaps<'_>,
    out: &mut BytesMut,
) {
    out.put_slice(PAGE_OPENING);
    for (index, (channel, publication)) in publications.into_iter().enumerate() {
        write_page_item(index == 0, channel, publication, out);
    }
    write_page_ending(cursor, more, gaps, out);
}

/// One publication of a page. Written one by one, between the opening and the ending, they are what `write_page` writes.
pub fn write_page_item(first: bool, channel: &ChannelName, publication: &Publication, out: &mut BytesMut) {
    if !first {
        out.put_u8(b',');
    }
    json_object(channel, publication, None, out);
}

/// How long one publication of a page is, found without writing it.
pub fn page_item_len(first: bool, channel: &ChannelName, publication: &Publication) -> usize {
    usize::from(!first) + json_object_len(channel, publication)
}

/// What stands in a page behind its publications.
pub fn write_page_ending(cursor: &str, more: bool, gaps: PageGaps<'_>, out: &mut BytesMut) {
    out.put_slice(b"],\"cursor\":");
    write_string(cursor, out);
    out.put_slice(if more { b",\"more\":true" } else { b",\"more\":false" });
    write_gaps(gaps, out);
    out.put_u8(b'}');
}

/// What stands in a page before its publications.
pub const PAGE_OPENING: &[u8] = b"{\"publications\":[";

fn write_gaps(gaps: PageGaps<'_>, out: &mut BytesMut) {
    match gaps {
        PageGaps::Channel(None) | PageGaps::Channels([]) => (),
        PageGaps::Channel(Some(gap)) => {
            out.put_slice(b",\"gap\":");
            write_gap(None, gap, out);
        }
        PageGaps::Channels(gaps) => {
            out.put_slice(b",\"gaps\":[");
            for (index, (channel, gap)) in gaps.iter().enumerate() {
                out.put_slice(if index > 0 { b",{\"channel\":" } else { b"{\"channel\":" });
                write_string(channel.as_str(), out);
                out.put_slice(b",\"gap\":");
                write_gap(None, gap, out);
                out.put_u8(b'}');
            }
            out.put_u8(b']');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{Cursor, Epoch, Position};
    use crate::publication::{ContentType, Draft};
    use crate::start::GapReason;
    use proptest::prelude::*;

    fn channel(text: &str) -> ChannelName {
        ChannelName::parse(text).expect("a name")
    }

    fn publication(offset: u64, text: &str) -> Publication {
        Publication { position: Position::new(Epoch::from_bits(1), offset), time_ms: 0, bytes_before: 0, draft: Draft::text(text) }
    }

    fn gap() -> Gap {
        Gap { asked: Cursor::parse("e-1").expect("a cursor"), resumed: Position::new(Epoch::from_bits(1), 4), reason: GapReason::Epoch }
    }

    fn page(publications: &[(ChannelName, Publication)], cursor: &str, more: bool, gaps: PageGaps<'_>) -> String {
        let mut out = BytesMut::new();
        write_page(publications.iter().map(|(channel, publication)| (channel, publication)), cursor, more, gaps, &mut out);
        let text = String::from_utf8(out.to_vec()).expect("UTF-8");
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
        text
    }

    /// Text with all that is escaped in one way or another, short and past a block.
    const TEXT: &str = r#"[\x00-\x1f"\\/aé봉🔥\x7f]{0,100}"#;

    fn content_type() -> impl Strategy<Value = ContentType> {
        prop_oneof![Just(ContentType::Text), Just(ContentType::Octets), TEXT.prop_map(|text| ContentType::Other(text.into())),]
    }

    /// JSON as a publisher may write it, on one line or several; anything else, as text or as bytes that are none.
    fn data() -> impl Strategy<Value = (ContentType, Vec<u8>)> {
        let json = proptest::collection::vec((TEXT, any::<i64>()), 0..5).prop_flat_map(|members| {
            let value = serde_json::Value::Object(members.into_iter().map(|(name, number)| (name, number.into())).collect());
            let forms = [value.to_string(), serde_json::to_string_pretty(&value).expect("JSON").replace('\n', "\r\n")];
            prop::sample::select(forms.to_vec()).prop_map(|text| (ContentType::Json, text.into_bytes()))
        });
        let bytes = proptest::collection::vec(any::<u8>(), 0..100);
        prop_oneof![json, (content_type(), TEXT.prop_map(String::into_bytes)), (content_type(), bytes)]
    }

    prop_compose! {
        fn any_publication()(
            (content_type, data) in data(),
            offset in prop_oneof![0..=101u64, Just(u64::MAX), any::<u64>()],
            (epoch, time_ms) in (any::<u64>(), any::<u64>()),
            key in proptest::option::of(TEXT),
            headers in proptest::collection::vec((TEXT, TEXT), 0..4),
        ) -> Publication {
            let headers = headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
            let draft = Draft { data: data.into(), content_type, key: key.map(Into::into), headers };
            Publication { position: Position::new(Epoch::from_bits(epoch), offset), time_ms, bytes_before: 0, draft }
        }
    }

    proptest! {
        #[test]
        fn what_is_measured_is_as_long_as_what_is_written(
            publication in any_publication(), name in r#"[a"\\é봉🔥-]{1,60}"#, first in any::<bool>(),
        ) {
            let (name, mut out) = (channel(&name), BytesMut::new());
            write_page_item(first, &name, &publication, &mut out);
            prop_assert_eq!(page_item_len(first, &name, &publication), out.len(), "{}", String::from_utf8_lossy(&out));
        }
    }

    #[test]
    fn an_empty_page_still_has_its_cursor() {
        assert_eq!(page(&[], "e-0", false, PageGaps::Channel(None)), r#"{"publications":[],"cursor":"e-0","more":false}"#);
    }

    #[test]
    fn a_gap_is_beside_the_publications() {
        assert_eq!(
            page(&[(channel("a"), publication(5, "five"))], "00000000001-5", true, PageGaps::Channel(Some(&gap()))),
            concat!(
                r#"{"publications":[{"channel":"a","position":"00000000001-5","data":"five","time":"1970-01-01T00:00:00.000Z"}],"#,
                r#""cursor":"00000000001-5","more":true,"gap":{"asked":"e-1","resumed":"00000000001-4","reason":"epoch"}}"#
            )
        );
    }

    #[test]
    fn several_channels_have_a_gap_each() {
        let gaps = [(channel("a"), gap()), (channel("b"), gap())];
        assert_eq!(
            page(&[], "x_e-1.y_e-2", false, PageGaps::Channels(&gaps)),
            concat!(
                r#"{"publications":[],"cursor":"x_e-1.y_e-2","more":false,"gaps":["#,
                r#"{"channel":"a","gap":{"asked":"e-1","resumed":"00000000001-4","reason":"epoch"}},"#,
                r#"{"channel":"b","gap":{"asked":"e-1","resumed":"00000000001-4","reason":"epoch"}}]}"#
            )
        );
    }
}
