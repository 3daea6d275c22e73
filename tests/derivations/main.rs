//! Every labelled equation of `derivations/*.md` is checked here by a test whose name starts with its label
//! (D1.1 -> `d1_1_...`). The equations are proved by another route than the one that derived them: quadrature,
//! enumeration, sampling, finite differences or dual numbers, with the small code below and nothing of the solvers.

mod common;
mod d10_sample_sum;
mod d11_quenched_layer;
mod d12_action;
mod d13_saddle;
mod d14_white_noise_saddle;
mod d15_loop_corrections;
mod d16_more_dimensions;
mod d17_plane_fokker_planck;
mod d18_readouts;
mod d19_training_by_factors;
mod d1_forward_process;
mod d20_kernels;
mod d21_laziness;
mod d21_network_training;
mod d21_networks;
mod d22_dataset;
mod d22_flow_layers;
mod d22_flows;
mod d22_kernel_machines;
mod d22_ridge_layers;
mod d23_reverse_process;
mod d23_start_and_churn;
mod d24_low_rank_mixtures;
mod d25_clustering;
mod d25_subspaces;
mod d25_transition;
mod d26_rival_theories;
mod d27_data_sets;
mod d2_dsm_target;
mod d3_path_integral;
mod d4_naive_family;
mod d5_sandwich;
mod d6_semiclassical;
mod d7_gaussian_push_forward;
mod d8_distances;
mod d9_deterministic_equivalent;
mod dense;
mod networks;
mod toy;
