// The items of `choreography` that expanded code refers to, as far as the cases need them.
#![allow(dead_code, unused_imports, unused_macros, reason = "no case uses all of it")]

pub use choreography_derive::{Command, Event, Messages, Timer};

#[derive(Clone, Copy)]
pub enum Kind {
    Command,
    Event,
    Timer,
}

#[derive(Clone, Copy)]
pub struct MessageInfo {
    message_type: &'static str,
    version: u32,
}

pub struct DecodeError;

pub trait Publish {
    fn info(&self) -> &'static MessageInfo;
    fn key(&self) -> &str;
}

pub trait Message: Publish + Sized {
    const CONTEXT: &'static str;
    const KIND: Kind;
    const NAME: &'static str;
    const VERSION: u32;
    const TYPE: &'static str;
    const FILTER: &'static str;
    const PRODUCER: &'static str;
    const DESCRIPTION: &'static str;
    const PREVIOUS: Option<&'static MessageInfo> = None;
    const INFO: MessageInfo = MessageInfo { message_type: Self::TYPE, version: Self::VERSION };

    fn upcast(_: &str, _: &[u8]) -> Result<Self, DecodeError> {
        Err(DecodeError)
    }
}

pub trait Event: Message {}

pub trait Messages: Sized {
    const MESSAGES: &'static [MessageInfo];
    fn decode(message_type: &str, body: &[u8]) -> Result<Self, DecodeError>;
}

impl<M: Message> Messages for M {
    const MESSAGES: &'static [MessageInfo] = &[M::INFO];
    fn decode(_: &str, _: &[u8]) -> Result<Self, DecodeError> {
        Err(DecodeError)
    }
}

pub mod __private {
    use super::{DecodeError, Message, MessageInfo, Messages};

    pub trait Serializer {
        type Ok;
        type Error;
    }

    pub trait Serialize {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
    }

    impl<M: Message> Serialize for M {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            unreachable!("the cases are compiled, and never run")
        }
    }

    pub fn holds<M: Messages>(_: &str) -> bool {
        false
    }

    pub const fn count(sets: &[&[MessageInfo]]) -> usize {
        sets.len()
    }

    pub const fn concat<const COUNT: usize>(sets: &[&[MessageInfo]]) -> [MessageInfo; COUNT] {
        let mut all = [sets[0][0]; COUNT];
        all[COUNT - 1] = sets[COUNT - 1][0];
        all
    }

    pub const fn precedes(older: &MessageInfo, newer: &MessageInfo) -> bool {
        older.version < newer.version
    }

    pub fn unknown(_: &str) -> DecodeError {
        DecodeError
    }

    pub const fn distinct(messages: &[MessageInfo]) -> bool {
        let (one, other) = (messages[0].message_type.as_bytes(), messages[1].message_type.as_bytes());
        let mut index = 0;
        while index < one.len() {
            if one[index] != other[index] {
                return true;
            }
            index += 1;
        }
        false
    }

    macro_rules! schema {
        ($body:ty) => {};
    }
    pub(crate) use schema;
}
