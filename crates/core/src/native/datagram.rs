//! A line of a datagram: what the native protocol has everywhere, and what only UDP needs, since only there something is lost.

use super::fault::NativeFaultKind;
use super::members::{Field, Members};
use super::{Id, NativeFault, NativeLimits};
use crate::json::check_depth;
use crate::position::Cursor;
use crate::udp::Request;

/// Reads one command of a datagram: `repair` is a command of its own there, and a subscribe may say `"repair":false`.
pub(crate) fn decode_datagram_line(bytes: &[u8], limits: &NativeLimits) -> Result<Request, NativeFault> {
    let text = std::str::from_utf8(bytes).map_err(|_| NativeFaultKind::NotJson { reason: "not UTF-8".to_owned() })?;
    check_depth(bytes, limits.depth_max).map_err(NativeFaultKind::from)?;
    let mut members = Members::default();
    members.read(text)?;
    let mut id = members.get(Field::Id).map(|raw| Id::parse(raw.get())).transpose()?;
    members.request(limits, &mut id).map_err(|kind| NativeFault { id, kind })
}

impl Members<'_> {
    fn request(&mut self, limits: &NativeLimits, id: &mut Option<Id>) -> Result<Request, NativeFaultKind> {
        if self.raw(Field::Repair).is_some() && self.only_command().is_err_and(|fault| is_unknown(&fault)) {
            return self.repair(id);
        }
        let is_subscribe = self.raw(Field::Subscribe).is_some();
        let complete = match if is_subscribe { self.take(Field::Repair).map(|raw| raw.get()) } else { None } {
            None | Some("true") => true,
            Some("false") => false,
            Some(_) => return Err(NativeFaultKind::InvalidRepair),
        };
        self.command(limits, id).map(|command| Request::Command { command, complete })
    }

    fn repair(&self, id: &mut Option<Id>) -> Result<Request, NativeFaultKind> {
        self.check_fields(Field::Repair)?;
        let channel = self.channel(Field::Repair)?;
        let after = self.cursor(Field::After)?.ok_or(NativeFaultKind::RepairWithoutAfter)?;
        Ok(Request::Repair { channel, after, through: self.cursor(Field::Through)?, id: id.take() })
    }

    fn cursor(&self, field: Field) -> Result<Option<Cursor>, NativeFaultKind> {
        let text = self.text(field, || NativeFaultKind::InvalidCursor)?;
        text.map(|text| Cursor::parse(&text).map_err(|_| NativeFaultKind::InvalidCursor)).transpose()
    }
}

fn is_unknown(fault: &NativeFaultKind) -> bool {
    matches!(fault, NativeFaultKind::UnknownCommand { .. })
}
