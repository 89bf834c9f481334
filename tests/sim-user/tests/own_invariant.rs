//! An application that writes only where it sees most of its nodes: two that are cut off stop within the time of failure detection.

use std::error::Error;
use std::time::Duration;

use noex_sim::app::{App, SECOND};
use noex_tokio::{Cluster, ClusterConfig, mark};

const NODES: usize = 5;

/// What the application's `main` awaits.
async fn run(number: usize) -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::new();
    let config = ClusterConfig::new(format!("n{number}")).host(format!("10.0.0.{number}")).heartbeat_interval(SECOND);
    cluster.start(config.seeds(["n1@10.0.0.1:4369"])).await?;
    loop {
        if 2 * (cluster.connected_node_count()? + 1) > NODES {
            mark!("writes");
        }
        tokio::time::sleep(SECOND / 10).await;
    }
}

fn minority_stops_within(allowed: Duration) {
    App::seeds(0..4).run(move |app| {
        let nodes: Vec<_> = (1..=NODES).map(|number| app.host(format!("n{number}"), move || run(number))).collect();
        let cut_at = Duration::from_millis(app.pick("cut after", 3000..=5000));
        let (minority, majority) = nodes.split_at(2);
        let (these, those) = (minority.to_vec(), majority.to_vec());
        app.at(cut_at, move |app| app.cut(&these, &those));
        app.always("a minority writes nothing", move |view| {
            let last = view.marks("writes").rfind(|mark| mark.host < 2);
            last.is_none_or(|last| last.at < cut_at + allowed)
        });
        app.run_for(cut_at + 8 * SECOND)?;
        // The majority has gone on.
        app.run_until(|view| view.marks("writes").next_back().is_some_and(|last| view.now() - last.at < SECOND), SECOND)
    });
}

#[test]
fn a_minority_stops_writing() {
    minority_stops_within(4 * SECOND);
}

#[test]
#[should_panic(expected = "this does not hold always: a minority writes nothing")]
fn a_failure_says_what_does_not_hold() {
    minority_stops_within(SECOND);
}
