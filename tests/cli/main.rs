//! The command as a user runs it: its servers, its clients, their exit codes and what they say where.

mod bench;
mod clients;
mod command;
mod proxy;
mod serve;
