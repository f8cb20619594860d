//! Every scenario with every pair that runs on plain processes. A pair joins by one row at the end.

use e2e::pairs::{ProcessHaProxy, StaticHaProxy};

use crate::table::scenarios;

acceptance! {
    process_haproxy: ProcessHaProxy;
    static_haproxy: StaticHaProxy;
}
