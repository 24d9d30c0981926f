//! `klamm healthcheck` of a node that serves, of one that is alive but does not serve, and of none.

use klamm_faults::{Member, Roles};

use crate::support::{fleet, klamm};

#[tokio::test]
async fn alive_and_ready_are_told_apart() {
    let members = (1..=3).map(|id| Member::new(id, Roles::Both)).collect();
    let (mut nodes, _folder) = fleet(members);
    nodes.start_all().await.unwrap();
    let address = nodes.http(1).unwrap();
    let ready = ["healthcheck", "--address", &address];
    let alive = ["healthcheck", "--live", "--address", &address];
    assert_eq!(klamm(&ready).good(), format!("{address} is ready\n"));

    // Without a majority of the controllers its session ends.
    nodes.kill(&[2, 3]).await.unwrap();
    let refused = loop {
        let done = klamm(&ready);
        if done.code != 0 {
            break done;
        }
    };
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.stderr.contains("not ready: ") && refused.stderr.contains("fenced"),
        "{refused:?}"
    );
    assert_eq!(klamm(&alive).good(), format!("{address} is alive\n"));

    nodes.kill(&[1]).await.unwrap();
    let dead = klamm(&alive);
    assert_eq!(dead.code, 1, "{dead:?}");
    assert!(dead.stderr.contains(&format!("connecting to {address}")), "{dead:?}");
}

#[tokio::test]
async fn the_settings_say_where_to_ask() {
    let (mut nodes, folder) = fleet(vec![Member::new(1, Roles::Both)]);
    nodes.start_all().await.unwrap();
    let address = nodes.http(1).unwrap();
    let file = folder.path().join("node.toml");
    // Nothing that would make a node: only what is asked for.
    std::fs::write(
        &file,
        format!("http_bind = \"{}\"", address.replace("127.0.0.1", "0.0.0.0")),
    )
    .unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(
        klamm(&["healthcheck", "--config", file]).good(),
        format!("{address} is ready\n")
    );
    std::fs::write(file, "http_bin = \"127.0.0.1:1\"").unwrap();
    assert_eq!(klamm(&["healthcheck", "--config", file]).code, 2);
}
