//! The far end of every transport: clients now, load and measurement beside them. Never sees the server's code.

pub mod client;
//! The far end of every transport.

pub mod ceiling;
pub mod load;
