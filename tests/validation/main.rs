//! Every solver against numbers obtained another way: closed forms, brute force, a second method, trained models.
//! One generic test runs every method against every problem of `closed_forms` that it applies to.

mod any_fp;
mod closed_forms;
mod cloud;
mod common;
mod compare;
mod data_sets;
mod densities;
mod features;
mod fokker_planck;
mod low_rank;
mod maps;
mod memorisation;
mod networks;
mod plane_fokker_planck;
mod posterior;
mod reverse_sde;
mod saddle;
mod schemes;
mod statistics;
mod subspaces;
mod trained;
mod unseen;
mod v_kernel;
