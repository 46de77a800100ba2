//! Publishes over UDP: a datagram at a time, said again until every publication in it is answered.

use std::time::Duration;

use bongsu_core::Cursor;
use rand::{Rng, RngExt};
use tokio::time::{Instant, timeout_at};

use super::RETRY_MAX;
use super::link::UdpLink;
use super::told::Told;
use crate::client::fault::ClientFault;
use crate::client::native;
use crate::client::publisher::{Outgoing, Results};
use crate::client::record::{self, Record};
use crate::client::target::Target;

/// A publisher's socket. What it publishes keeps its order, since one datagram is on its way at a time.
#[derive(Debug)]
pub(crate) struct UdpPublisher {
    link: UdpLink,
    answer_max: Duration,
    ids: u64,
}

impl UdpPublisher {
    /// Has its address validated.
    pub(crate) async fn open(target: &Target, answer_max: Duration) -> Result<Self, ClientFault> {
        Ok(Self { link: UdpLink::open(target, answer_max).await?, answer_max, ids: 0 })
    }

    /// Publishes all, in order, each once: a publication without a key of its own is given one, since its datagram may be said twice.
    pub(crate) async fn publish_all(&mut self, outgoing: &[Outgoing], chance: &mut impl Rng) -> Result<Results, ClientFault> {
        let mut results = Results::new();
        let mut datagram = Vec::new();
        let mut room = self.link.room();
        for outgoing in outgoing {
            self.ids += 1;
            let made_up = || format!("{:032x}", chance.random::<u128>());
            let key = outgoing.idempotency_key.clone().unwrap_or_else(made_up);
            let line = native::publish(&outgoing.channel, &outgoing.draft, Some(&key), self.ids);
            // The line, a space and its end.
            let len = line.len() + 2;
            if len > self.link.room() {
                results.extend(self.exchange(&std::mem::take(&mut datagram)).await?);
                room = self.link.room();
                let message = format!("{len} bytes, and a datagram has room for {room}; publish it over another transport");
                results.push(Err(ClientFault::Told { code: "datagram-too-large".to_owned(), message }));
                continue;
            }
            if len > room {
                results.extend(self.exchange(&std::mem::take(&mut datagram)).await?);
                room = self.link.room();
            }
            room -= len;
            datagram.push((self.ids, line));
        }
        results.extend(self.exchange(&datagram).await?);
        Ok(results)
    }

    async fn exchange(&mut self, lines: &[(u64, String)]) -> Result<Results, ClientFault> {
        let mut answers: Vec<Option<Result<Cursor, ClientFault>>> = lines.iter().map(|_| None).collect();
        let (give_up_at, mut retry) = (Instant::now() + self.answer_max, self.link.patience);
        while answers.iter().any(Option::is_none) {
            let open = lines.iter().zip(&answers).filter(|(_, answer)| answer.is_none());
            let open: Vec<String> = open.map(|((_, line), _)| line.clone()).collect();
            self.link.say(&open);
            let again_at = (Instant::now() + retry).min(give_up_at);
            retry = (retry * 2).min(RETRY_MAX);
            while answers.iter().any(Option::is_none) {
                match timeout_at(again_at, self.link.receive()).await {
                    Ok(datagram) => {
                        if self.hear(&datagram?, lines, &mut answers)? {
                            break;
                        }
                    }
                    Err(_) if Instant::now() >= give_up_at => {
                        return Err(ClientFault::Silent { what: "the answer to a publish", waited: self.answer_max });
                    }
                    Err(_) => break,
                }
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// Takes answers. Tells whether all is to be said again at once, under a new cookie.
    fn hear(
        &mut self,
        datagram: &[u8],
        lines: &[(u64, String)],
        answers: &mut [Option<Result<Cursor, ClientFault>>],
    ) -> Result<bool, ClientFault> {
        let mut again = false;
        for line in datagram.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
            let told = Told::read(line)?;
            if let Some(cookie) = &told.cookie {
                self.link.set_cookie(cookie);
                again |= told.error().is_some();
            }
            let Some(place) = told.id.and_then(|id| lines.iter().position(|(known, _)| *known == id)) else { continue };
            answers[place] = match record::read(line, None)? {
                Record::Done { position: Some(position), .. } => Some(Ok(position)),
                Record::Error { code, message, .. } => Some(Err(ClientFault::Told { code, message })),
                _ => return Err(record::unreadable(line, "no position")),
            };
        }
        Ok(again)
    }
}
