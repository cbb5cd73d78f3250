//! `make reliability`: long tests of what may not be lost and not be misread, and the page of their figures,
//! `docs/reliability.md`.
//!
//! Each part leaves its figures in `target/reliability`; the page is written from these files, and fails if anything
//! was lost. `TWEEDIE_KILLS` and `TWEEDIE_SOAK_STEPS` shorten the two longest.

mod commands;
mod damage;
mod disks;
mod gpu_faults;
mod inputs;
mod kill_storm;
mod page;
mod processes;
mod record;
mod soak;
mod twins;

use record::part;
use twins::Twins;

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

mod parts {
    use super::*;

    #[test]
    #[ignore = "minutes; see `make reliability`"]
    fn a_run_that_is_killed_again_and_again_loses_nothing() {
        part("kill storm", |record| kill_storm::storm(record, number("TWEEDIE_KILLS", 100)));
    }

    #[test]
    #[ignore = "minutes; see `make reliability`"]
    fn no_fault_around_a_run_folder_loses_a_checkpoint() {
        part("faults", |record| {
            let twins = Twins::new();
            disks::faults(record, &twins);
            processes::faults(record, &twins);
            damage::faults(record, &twins);
        });
    }

    #[test]
    #[ignore = "minutes; see `make reliability`"]
    fn no_fault_of_a_driver_loses_a_run() {
        part("GPU faults", gpu_faults::faults);
    }

    #[cfg(feature = "hub")]
    #[test]
    #[ignore = "minutes; see `make reliability`"]
    fn no_lie_of_a_hub_is_believed() {
        part("hub", |record| {
            let victim = crate::hub::Victim::new();
            for lie in victim.lies() {
                record.case(lie.0, || victim.hears(lie));
            }
            record.resume("after it", || Twins::new().go_on());
        });
    }

    #[test]
    #[ignore = "minutes; see `make reliability`"]
    fn no_damaged_file_is_read_as_a_whole_one() {
        part("hostile inputs", |record| {
            inputs::to_the_library(record);
            commands::attack(record);
            record.resume("after it", || Twins::new().go_on());
        });
    }

    #[test]
    #[ignore = "many minutes; see `make reliability`"]
    fn a_long_run_needs_no_more_memory_at_its_end() {
        part("soak", |record| soak::soak(record, number("TWEEDIE_SOAK_STEPS", 20_000)));
    }
}

#[test]
#[ignore = "after the parts; see `make reliability`"]
fn the_page_is_written_and_nothing_was_lost() {
    let records = record::all();
    page::write(&records);
    for record in &records {
        assert!(record.findings.is_empty(), "{}: {:#?}", record.part, record.findings);
    }
}
