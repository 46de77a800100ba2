//! The far end of every transport.

pub mod ceiling;
pub mod load;
