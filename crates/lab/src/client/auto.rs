//! Which transport to try next when the client is to find one that gets through. Pure.

use super::connection::Transport;

/// The choice of a transport: one that was asked for, or the first that works.
#[derive(Debug, Clone)]
pub struct Choice {
    candidates: Vec<Transport>,
    at: usize,
    /// The transport has carried a record, so it gets through; what breaks now is more likely the server or the network.
    worked: bool,
    strikes: u32,
}

/// What to do after a transport broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextTry {
    /// Wait, then the same again.
    Same,
    /// Another one, at once.
    Other(Transport),
    /// Another one, but after a wait: all were tried.
    Round,
}

/// How often a transport that has worked may fail to before another is tried.
const STRIKES_MAX: u32 = 3;

impl Choice {
    /// The first that works, the most immediate first.
    pub fn auto() -> Self {
        Self { candidates: Transport::AUTO.to_vec(), at: 0, worked: false, strikes: 0 }
    }

    /// This one and no other.
    pub fn fixed(transport: Transport) -> Self {
        Self { candidates: vec![transport], at: 0, worked: false, strikes: 0 }
    }

    /// What is to be used now.
    pub fn transport(&self) -> Transport {
        self.candidates[self.at]
    }

    /// A record came: this transport gets through, and is remembered.
    pub fn carried(&mut self) {
        self.worked = true;
        self.strikes = 0;
    }

    /// The transport failed before its first record. A gateway that says the server is away says little about a transport
    /// that has worked.
    pub fn failed(&mut self, gateway_trouble: bool) -> NextTry {
        self.strikes += 1;
        let patient = self.worked && (gateway_trouble || self.strikes < STRIKES_MAX);
        if patient || self.candidates.len() == 1 {
            return NextTry::Same;
        }
        self.at = (self.at + 1) % self.candidates.len();
        self.strikes = 0;
        self.worked = false;
        if self.at == 0 { NextTry::Round } else { NextTry::Other(self.transport()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn falls_back_down_the_list_and_begins_again() {
        let mut choice = Choice::auto();
        assert_eq!(choice.transport(), Transport::WebSocket);
        for next in [Transport::Sse, Transport::Stream, Transport::LongPoll, Transport::Poll] {
            assert_eq!(choice.failed(false), NextTry::Other(next));
        }
        assert_eq!(choice.failed(false), NextTry::Round);
        assert_eq!(choice.transport(), Transport::WebSocket);
    }

    #[test]
    fn remembers_what_worked_through_an_outage() {
        let mut choice = Choice::auto();
        choice.failed(false);
        choice.carried();
        for _ in 0..100 {
            assert_eq!(choice.failed(true), NextTry::Same);
        }
        choice.carried();
        assert_eq!((choice.failed(false), choice.failed(false)), (NextTry::Same, NextTry::Same));
        assert_eq!(choice.failed(false), NextTry::Other(Transport::Stream));
    }

    #[test]
    fn what_was_asked_for_stays() {
        let mut choice = Choice::fixed(Transport::Poll);
        assert_eq!(choice.failed(false), NextTry::Same);
        assert_eq!(choice.transport(), Transport::Poll);
    }
}
