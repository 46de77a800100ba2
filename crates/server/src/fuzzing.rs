//! What the fuzz targets reach of this crate's insides. No interface for anyone else.

use bongsu_core::{ChannelName, Start};

pub use crate::http::{Body, BodyFault, BodyLength, HeadFault, HeadLimits, Method, Request, Version};
use crate::http::{Problem, negotiate};
use crate::transport::start::Query;

/// What a request asks of `/subscribe`: its channels, each with its start; the form of the answer is looked at as well.
pub fn subscription(request: &Request) -> Result<Vec<(ChannelName, Start)>, (u16, &'static str)> {
    let refused = |problem: Problem| (problem.status, problem.code);
    let query = Query::read(request).map_err(refused)?;
    negotiate::accept(request).map_err(refused)?;
    let composite = query.channels.len() > 1;
    let starts = query.starts(&query.channels, composite, &Start::Live).map_err(refused)?;
    Ok(query.channels.into_iter().zip(starts).collect())
}
