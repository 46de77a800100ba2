//! The message forms in use on one worker, each under a short key, so that an encoding stays small and quick to compare.

use std::collections::HashMap;

use slab::Slab;

use super::MessageForm;

/// Message forms, each kept for as long as somebody holds it. They belong to one thread; a clone starts without any.
#[derive(Debug, Default)]
pub struct MessageForms {
    held: Slab<Held>,
    keys: HashMap<MessageForm, FormKey>,
}

/// Names a message form: equal forms have the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FormKey(u32);

#[derive(Debug, Clone)]
struct Held {
    form: MessageForm,
    holders: u32,
}

impl Clone for MessageForms {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl FormKey {
    /// Stands for any form, where only the kind of an encoding matters.
    pub const ANY: Self = Self(u32::MAX);
}

impl MessageForms {
    /// The key of a form, which is held once more.
    pub fn hold(&mut self, form: &MessageForm) -> FormKey {
        if let Some(&key) = self.keys.get(form) {
            self.hold_again(key);
            return key;
        }
        let key = FormKey(self.held.insert(Held { form: form.clone(), holders: 1 }) as u32);
        self.keys.insert(form.clone(), key);
        key
    }

    /// Holds a form once more.
    pub fn hold_again(&mut self, key: FormKey) {
        if let Some(held) = self.held.get_mut(key.0 as usize) {
            held.holders += 1;
        }
    }

    /// Holds a form once less; with its last holder it goes.
    pub fn release(&mut self, key: FormKey) {
        let Some(held) = self.held.get_mut(key.0 as usize) else { return };
        held.holders -= 1;
        if held.holders == 0 {
            let gone = self.held.remove(key.0 as usize);
            self.keys.remove(&gone.form);
        }
    }

    /// The form, while it is held.
    pub fn get(&self, key: FormKey) -> Option<&MessageForm> {
        self.held.get(key.0 as usize).map(|held| &held.form)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Version;
    use super::super::destination::Prefix;
    use super::*;

    fn form(id: &str) -> MessageForm {
        MessageForm { version: Version::V1_2, subscription: Some(id.into()), prefix: Prefix::Topic, acknowledged: false }
    }

    #[test]
    fn equal_forms_share_a_key_until_the_last_lets_go() {
        let mut forms = MessageForms::default();
        let (one, again, other) = (forms.hold(&form("1")), forms.hold(&form("1")), forms.hold(&form("2")));
        assert_eq!(one, again);
        assert_ne!(one, other);
        forms.release(one);
        assert_eq!(forms.get(one), Some(&form("1")));
        forms.release(again);
        assert_eq!((forms.get(one), forms.keys.len()), (None, 1));
        assert_eq!(forms.get(other), Some(&form("2")));
    }
}
