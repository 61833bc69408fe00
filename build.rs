//! Makes the program smaller while it is linked: functions with the same code become one, and relocations are packed. Both are
//! options of the linker that Rust brings for this target; a build script keeps them from compiling the dependencies anew.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("TARGET").as_deref() == Ok("x86_64-unknown-linux-gnu") {
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all,-z,pack-relative-relocs");
    }
}
