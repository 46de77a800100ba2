//! Measuring servers against each other, described by data: what they are and how they are spoken to, what is put on them, what is to be
//! reached. `bongsu bench` is its command line.

mod compare;
mod fault;
mod figure;
mod file;
mod goal;
mod html;
mod plot;
mod room;
mod scenario;
mod server;
mod table;
mod target;
mod technique;

pub use compare::{Compared, Measured, Results, Round, compare, extent};
pub use fault::BenchFault;
pub use figure::{FIGURES, Figure, Kind, Spread};
pub use file::{CompareFile, TargetEntry};
pub use goal::{Goal, Judgement, Verdict};
pub use html::{page_of_comparison, page_of_run};
pub use room::{buffer_bytes, make_room};
pub use scenario::{Publish, Scenario, Vary};
pub use server::{Running, Start, end_all};
pub use table::{goals_table, run_table, scenario_table};
pub use target::{PublishSection, SubscribeSection, TargetFile};
pub use technique::{Extent, Techniques};
