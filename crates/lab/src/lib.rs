//! The far end of every transport.
