//! The command itself, run as a user runs it: files, exit codes, messages, interruptions; and random valid specs.

#[path = "command/cite.rs"]
mod cite;
#[path = "command/derive.rs"]
mod derive;
#[path = "command/end_to_end.rs"]
mod end_to_end;
#[path = "command/interruption.rs"]
mod interruption;
#[path = "command/kernels.rs"]
mod kernels;
#[path = "command/random_specs.rs"]
mod random_specs;
#[path = "command/repeatability.rs"]
mod repeatability;
#[path = "command/rivals.rs"]
mod rivals;
#[path = "command/space.rs"]
mod space;
#[path = "command/support.rs"]
mod support;
#[path = "command/wrong_input.rs"]
mod wrong_input;
