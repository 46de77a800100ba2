//! Polls and long polls: the way of those who hold no connection, or one that only waits.

use std::sync::Arc;

use bongsu_core::hub::SubscriberKey;
use bongsu_core::limits::PageLimits;
use bongsu_core::{ChannelName, Offset, Position, Publication, Start};

use crate::pipe::PipeEnd;
use crate::reader::Link;
use crate::world::World;

impl World {
    /// A reader without a connection asks for a page, and perhaps waits when there is nothing.
    pub(crate) fn poll(&mut self, reader: usize) {
        let worker = self.chance.below(self.workers.len());
        let waits = self.chance.percent(60);
        let start = self.random_start(reader, 0);
        self.poll_from(reader, worker, &start, waits);
    }

    /// Asks for a page from here.
    pub(crate) fn poll_from(&mut self, reader: usize, worker: usize, start: &Start, waits: bool) {
        self.note("poll", reader);
        let channel = self.readers[reader].follows[0].channel;
        let located = self.locate(worker, channel, start, waits);
        let name = self.model.channels[channel].name.clone();
        let limits = PageLimits { publications_max: self.chance.between(1, 6), bytes_max: self.chance.pick(&[0, 100, 10_000]) };
        let page = self.directory.borrow().page(&name, located.cursor.offset, Offset::MAX, limits);
        self.readers[reader].follows[0].cursor = Some(located.cursor);
        self.take(reader, &page.publications);
        assert!(page.publications.len() <= limits.publications_max, "a page is bounded");
        if !page.publications.is_empty() {
            return;
        }
        assert_eq!(self.readers[reader].follows[0].cursor, Some(page.head), "an empty page is the end");
        if waits {
            self.wait(reader, worker);
        }
    }

    fn wait(&mut self, reader: usize, worker: usize) {
        if self.chance.percent(20) {
            self.publish_anything();
        }
        self.drain(worker);
        let channel = &self.model.channels[self.readers[reader].follows[0].channel];
        if self.readers[reader].follows[0].cursor != Some(channel.head()) {
            return;
        }
        let hub = &mut self.workers[worker].hub;
        let Some(channel) = hub.channel(&channel.name) else { panic!("a long poll's channel is watched") };
        let key = hub.add(PipeEnd::default());
        hub.wait(key, channel);
        self.readers[reader].link = Link::Waiting { worker, key };
        self.readers[reader].remembered.clear();
        self.readers[reader].remember();
    }

    /// Something came for those who waited.
    pub(crate) fn arrive(
        &mut self,
        worker: usize,
        channel: &ChannelName,
        from: Position,
        publications: &[Arc<Publication>],
        waiters: &[SubscriberKey],
    ) {
        for &key in waiters {
            let reader = self.reader_named(worker, key).expect("only who is there waits");
            let followed = &self.readers[reader].follows[0];
            assert_eq!(
                (&self.model.channels[followed.channel].name, followed.cursor),
                (channel, Some(from)),
                "a waiter gets what comes next"
            );
            self.take(reader, publications);
            self.workers[worker].hub.remove(key).expect("it was there");
            self.readers[reader].disconnected();
        }
    }

    fn take(&mut self, reader: usize, publications: &[Arc<Publication>]) {
        for publication in publications {
            let followed = &mut self.readers[reader].follows[0];
            let cursor = followed.cursor.expect("a page begins somewhere");
            assert_eq!(publication.position, Position::new(cursor.epoch, cursor.offset + 1), "each publication once, and in order");
            assert!(
                Arc::ptr_eq(publication, self.model.channels[followed.channel].publication(publication.position)),
                "as it was published"
            );
            followed.cursor = Some(publication.position);
        }
    }
}
