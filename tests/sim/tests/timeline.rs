//! The page that shows a run: what stands in it, and that it needs nothing else.

use std::time::Duration;

use noex_proto::ClusterConfig;
use noex_sim::{Invariant, Plan, World};

/// Three nodes, of which the last two can never connect to each other, and are expected to.
const IMPOSSIBLE: &str = r#"{
  "seed": 1, "faults": ["crash", "freeze"], "rogues": ["silent"], "secret": true, "small_limits": false, "bytes_per_second": null,
  "window_bytes": 131072, "chunking": "whole", "reset_cuts": false, "latency": {"constant": {"us": 1000}}, "path_latencies": [],
  "undialable": [[1, 2], [2, 1]], "heal_ms": 9000, "core": [0, 1, 2], "watch_ms": 1000,
  "nodes": [
    {"name": "a", "start_ms": 0, "heartbeat_ms": 1000, "threshold": 3, "base_ms": 100, "max_ms": 1000, "forget_ms": 60000, "seeds": []},
    {"name": "b", "start_ms": 0, "heartbeat_ms": 1000, "threshold": 3, "base_ms": 100, "max_ms": 1000, "forget_ms": 60000,
     "seeds": [{"node": 0}]},
    {"name": "c", "start_ms": 0, "heartbeat_ms": 1000, "threshold": 3, "base_ms": 100, "max_ms": 1000, "forget_ms": 60000,
     "seeds": [{"node": 0}]}
  ],
  "steps": [
    {"at_ms": 1000, "op": {"crash": {"node": 1, "ms": 2000}}},
    {"at_ms": 1500, "op": {"send": {"from": 0, "to": 2, "size": 100, "count": 3}}},
    {"at_ms": 4000, "op": {"freeze": {"node": 2, "ms": 1000}}}
  ]
}"#;

fn impossible() -> Plan {
    Plan::from_text(IMPOSSIBLE).expect("a plan")
}

/// The parts of the page between these two texts.
fn between<'a>(html: &'a str, from: &str, to: &str) -> Vec<&'a str> {
    html.split(from).skip(1).map(|rest| rest.split_once(to).expect("an end").0).collect()
}

/// Whether each tag that is opened is closed, in its order.
fn check_tags(html: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = html;
    while let Some((_, tag)) = rest.split_once('<') {
        let (tag, after) = tag.split_once('>').expect("a tag ends");
        rest = after;
        let name = tag.trim_start_matches('/').split([' ', '\n']).next().expect("a name");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closed by </{name}>");
        } else if !tag.ends_with('/') && !matches!(name, "!doctype" | "input" | "meta") {
            open.push(name);
        }
        if matches!(name, "script" | "style") && !tag.starts_with('/') {
            rest = &rest[rest.find("</").expect("the end of the code")..];
        }
    }
    assert_eq!(open, Vec::<&str>::new());
}

#[test]
fn a_failing_run_shows_every_lane_session_fault_and_what_was_broken() {
    let (outcome, html) = impossible().run_drawn(0);
    let violation = outcome.violation.expect("nodes that cannot connect do not agree");
    assert_eq!(violation.invariant, Invariant::Agreement);
    check_tags(&html);

    assert!(html.contains("Broken rule: agreement</b>"));
    assert!(html.contains(&format!("found after {:.3} s", violation.at.as_secs_f64())));
    assert_eq!(between(&html, "<div class=\"violation", "</div>").len(), 1, "one line marks it");

    let lanes = between(&html, "<details class=\"lane\" open>", "</details>");
    assert_eq!(lanes.len(), 4, "three nodes and a stranger");
    let ids = ["a@10.0.0.1:4369", "b@10.0.0.2:4369", "c@10.0.0.3:4369"];
    for (place, lane) in lanes[..3].iter().enumerate() {
        assert!(lane.contains(&format!("<b>{}</b>", ids[place])), "{lane}");
        for (other, id) in ids.iter().enumerate() {
            assert_eq!(lane.contains(&format!("sees {id}")), other != place, "{id} in {lane}");
            // The session of each pair that can connect, twice where one of them crashed.
            let sessions = lane.matches(&format!("data-tip=\"session with {id}")).count();
            let expected = if place == other || place + other == 3 { 0 } else { 1 + usize::from(place + other == 1) };
            assert_eq!(sessions, expected, "of {} with {id}", ids[place]);
        }
    }
    assert!(lanes[3].contains("stranger: silent"));
    assert!(
        lanes[0].contains("class=\"disconnected\"") && lanes[0].contains("b@10.0.0.2:4369 is disconnected: connection_closed")
    );
    assert!(lanes[1].contains("class=\"crashed\"") && lanes[2].contains("class=\"frozen\""));

    let bands = between(&html, "<i class=\"band", "</i>");
    assert_eq!(bands.len(), 2, "messages are no fault: {bands:?}");
    assert!(html.contains("b crashes, starts again 2.0 s later") && html.contains("c is frozen for 1.0 s"));
    assert!(html.contains("all nodes mended: must agree"));
}

#[test]
fn the_page_refers_to_nothing_outside() {
    let (_, html) = impossible().run_drawn(0);
    for outside in ["http:", "https:", "//", "src=", "href=", "url(", "@import", "fetch("] {
        assert!(!html.contains(outside), "{outside}");
    }
}

#[test]
fn a_run_that_is_drawn_is_the_same_run() {
    for seed in [0, 1] {
        let plan = Plan::draw(seed);
        let (drawn, html) = plan.run_drawn(0);
        assert_eq!(drawn.hash, plan.run().hash, "seed {seed}");
        assert_eq!(drawn.violation, None);
        assert!(html.contains("No rule was broken"));
        check_tags(&html);
    }
}

#[test]
fn a_scenario_is_drawn_up_to_the_present_and_text_stays_text() {
    let mut world = World::new(1);
    assert_eq!(world.html("nothing is drawn"), None);
    world.set_drawing();
    let seed = world.id("a", 0).to_string();
    world.start(0, ClusterConfig::new("a").host("10.0.0.1")).expect("a valid configuration");
    world.start(1, ClusterConfig::new("b").host("10.0.0.2").seeds([seed])).expect("a valid configuration");
    world.run_for(Duration::from_secs(2)).expect("no invariant is broken");
    let html = world.html("<script>\"&'{{end}}").expect("it is drawn");
    check_tags(&html);
    assert!(html.contains("<h1>&lt;script&gt;&quot;&amp;&#39;{{end}}</h1>"), "the title is not taken for code");
    assert!(html.contains("const end = 2,"));
    assert_eq!(html.matches("data-tip=\"session with").count(), 2);
}
