//! The migrations and the queries' types are compiled in: build again when they change.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
    println!("cargo:rerun-if-changed=.sqlx");
    println!("cargo:rerun-if-changed=sqlx.toml");
}
