//! How long each piece of work takes, and what it allocates: `cargo bench -p noex-bench --bench core`.
#![forbid(unsafe_code)]

use divan::{AllocProfiler, Bencher};
use noex_bench::Work;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

#[divan::bench(args = Work::ALL.map(|(name, _)| name))]
fn core(bencher: Bencher<'_, '_>, name: &str) {
    let (_, work) = Work::ALL.into_iter().find(|(known, _)| *known == name).expect("one of the list");
    let ready = work.set_up();
    bencher.with_inputs(|| ready.clone()).bench_local_refs(|ready| ready.run());
}
