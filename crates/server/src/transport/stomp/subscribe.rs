//! SUBSCRIBE, UNSUBSCRIBE and windows: what a client follows over STOMP.

use bongsu_core::hub::SubscriberKey;
use bongsu_core::stomp::{MessageForm, Receipt, SubscriptionNumber};
use bongsu_core::{ChannelName, Start};
use bytes::BytesMut;

use super::Following;
use crate::worker::Worker;

impl Worker {
    /// Has a client follow a channel: the RECEIPT tells its cursor, then comes a gap, if there was one, then the messages.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn subscribe_stomp(
        &mut self,
        key: SubscriberKey,
        subscription: SubscriptionNumber,
        channel: &ChannelName,
        start: &Start,
        form: &MessageForm,
        receipt: Option<&Receipt>,
        replies: &mut BytesMut,
    ) {
        let (channel_key, located) = self.join(channel, start);
        // Held until the hub holds it for the subscription.
        let form_key = self.hub.encoder_mut().hold_form(form);
        let Some(stomp) = self.stomp(key) else { return };
        let encoding = stomp.encoding(form_key);
        stomp.session.subscribed(receipt, &located.told());
        if let Some(gap) = located.gap.as_ref().filter(|_| form.is_acknowledged()) {
            stomp.session.gap_sent(subscription, gap.resumed);
        }
        self.say_waiting(key, replies);
        if let Some(gap) = &located.gap {
            self.metrics.gap(gap.reason);
            self.hub.encoder().gap(encoding, channel, gap, None, replies);
        }
        // What is said first goes before what it announces.
        self.reply(key, replies);
        if self.stomp(key).is_some() {
            let slot = self.hub.subscribe(key, channel_key, encoding, located.cursor.offset);
            if let Some(stomp) = self.stomp(key) {
                stomp.followed.push(Following { subscription, slot });
            }
            self.pump(key);
        }
        self.hub.encoder_mut().release(encoding);
    }

    pub(super) fn unsubscribe_stomp(&mut self, key: SubscriberKey, subscription: SubscriptionNumber) {
        let Some(stomp) = self.stomp(key) else { return };
        let Some(place) = stomp.followed.iter().position(|following| following.subscription == subscription) else { return };
        let Following { slot, .. } = stomp.followed.swap_remove(place);
        self.hub.unsubscribe(key, slot);
    }

    /// The client answered for messages: more may be sent.
    pub(super) fn open_window(&mut self, key: SubscriberKey, subscription: SubscriptionNumber) {
        let Some(stomp) = self.stomp(key) else { return };
        let Some(&Following { slot, .. }) = stomp.followed.iter().find(|following| following.subscription == subscription) else { return };
        self.hub.window_opened(key, slot);
        self.pump(key);
    }
}
