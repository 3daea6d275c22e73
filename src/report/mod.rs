//! The output edge: the result file, the table a person reads, the figures.

mod across;
mod atomic;
pub mod decomposition;
mod densities;
pub mod figure;
pub(crate) mod format;
mod grid;
mod json;
mod maps;
mod measured;
pub mod paths;
mod readouts;
pub mod recovery;
mod recovery_table;
pub mod result;
mod table;

pub use across::distances_across;
pub use atomic::write_atomic;
pub use decomposition::{decomposition_table, decomposition_table_of};
pub use densities::{write_densities, write_maps};
pub use figure::{
    FigureError, case_figure, decomposition_figure, gap_filling_figure, map_figure,
    marginal_figure, memorised_figure, paths_figure, recovery_figure, segment_figure, sweep_figure,
    titled_case_figure, write_figures,
};
pub use json::result_json;
pub use maps::maps_summary;
pub use readouts::readout_table;
pub use recovery_table::recovery_table;
pub use result::{ResultError, read_result, result_schema};
pub use table::{comparison_table, comparison_table_of};
