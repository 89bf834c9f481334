//! The shop in the simulator: each order is done once, whatever fails. What is ignored takes minutes, and is run by hand:
//! `cargo test -p noex-shop -- --ignored`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use noex_shop::{Bug, Database, shop, worker};
use noex_sim::app::{App, Failure, Faults, SECOND};
use noex_tokio::ClusterConfig;

const ORDERS: u64 = 12;
const SHOP: &str = "shop@10.0.0.1:4369";

fn config(name: &str, host: u64) -> ClusterConfig {
    ClusterConfig::new(name).host(format!("10.0.0.{host}")).seeds([SHOP]).heartbeat_interval(SECOND)
}

fn each_order_is_done_once(app: &App, bug: Option<Bug>) -> Result<(), Failure> {
    let database = Database::with_orders(ORDERS);
    let workers: u64 = app.pick("workers", 1..=3);
    let of_shop = database.clone();
    let mut hosts = vec![app.host("shop", move || shop(config("shop", 1), of_shop.clone(), bug))];
    hosts.extend((1..=workers).map(|number| {
        let (name, database) = (format!("w{number}"), database.clone());
        let program = move || {
            let shop = SHOP.parse().expect("an identity");
            worker(config(&format!("w{number}"), number + 1), shop, database.clone(), bug)
        };
        app.host(name, program)
    }));
    app.faults(Faults::drawn().partitions().crashes().freezes().latency().among(&hosts).until(20 * SECOND));
    let done = database.clone();
    app.always("no order is done twice", move |_| {
        let mut done = done.done();
        done.sort_unstable();
        done.windows(2).all(|pair| pair[0] != pair[1])
    });
    app.run_for(20 * SECOND)?;
    app.heal()?;
    app.eventually(60 * SECOND, "all orders are done", |_| database.done().len() as u64 == ORDERS)
}

#[test]
fn each_order_is_done_once_whatever_fails() {
    App::seeds(0..3).run(|app| each_order_is_done_once(app, None));
}

#[test]
#[ignore = "it takes minutes"]
fn each_order_is_done_once_in_many_seeds() {
    App::seeds(0..1000).run(|app| each_order_is_done_once(app, None));
}

/// A bug is found within 50 seeds, and shrunk to at most three faults.
fn is_found(bug: Bug, what: &str) {
    let run = catch_unwind(AssertUnwindSafe(|| App::seeds(0..50).run(|app| each_order_is_done_once(app, Some(bug)))));
    let report = run.expect_err("it is found").downcast_ref::<String>().expect("a report").clone();
    let plan = report.lines().find_map(|line| line.strip_prefix("plan:")).expect("a plan");
    let left: usize = plan.split_whitespace().next().and_then(|left| left.parse().ok()).expect("a number");
    println!("{report}");
    assert!(report.contains(what) && left <= 3, "{report}");
}

#[test]
#[ignore = "it takes minutes"]
fn an_order_that_is_handed_out_again_blindly_is_found() {
    is_found(Bug::RetriesBlindly, "no order is done twice");
}

#[test]
#[ignore = "it takes minutes"]
fn a_monitor_that_is_forgotten_is_found() {
    is_found(Bug::ForgetsMonitor, "all orders are done");
}
