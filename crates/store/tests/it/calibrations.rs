//! What was found of gates.

use serde_json::json;

use crate::support::World;

#[tokio::test]
async fn the_newest_calibration_of_each_gate_is_kept() {
    let world = World::new().await;
    let store = &world.store;
    let app = world.app("shop").await;
    assert_eq!(store.calibrations(app.id).await.unwrap(), []);
    for (gate, phi, by) in [
        ("errors", 1, "ann"),
        ("slow", 2, "ann"),
        ("errors", 3, "bob"),
    ] {
        let result = json!({ "phi": phi });
        let put = store.put_calibration(app.id, gate, &result, by);
        put.await.unwrap();
    }
    let rows = store.calibrations(app.id).await.unwrap();
    let found: Vec<_> = rows
        .iter()
        .map(|it| {
            (
                it.gate.as_str(),
                &it.result["phi"],
                it.calibrated_by.as_str(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [("errors", &json!(3), "bob"), ("slow", &json!(2), "ann")]
    );
}
