//! The binary. Everything is in the library, so that the stories can run the same program.

fn main() -> std::process::ExitCode {
    harmony::main()
}
