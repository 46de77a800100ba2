//! HTTP as this server speaks it: heads read strictly, once, by one parser, so that no two opinions of a request
//! exist; bodies bounded; answers written as bytes. What a resource does with a request is `transport`'s matter.

pub mod body;
pub mod coding;
pub mod conditional;
pub mod guard;
pub mod negotiate;
pub mod problem;
#[cfg(test)]
mod properties;
pub mod request;
pub mod response;
pub mod target;
pub mod text;
mod unsent;

pub use body::{Body, BodyFault};
pub use conditional::{Validator, etag, none_match};
pub use problem::Problem;
pub use request::{BodyLength, HeadFault, HeadLimits, Method, Request, Version};
pub use response::Response;
pub use unsent::Unsent;
