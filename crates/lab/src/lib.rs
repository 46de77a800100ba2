//! The far end of every transport: clients, a load driver, and the bare server that shows what the machine itself can do.
//! Never sees the server's code.

pub mod ceiling;
pub mod client;
pub mod load;
pub mod restart;
