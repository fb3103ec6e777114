//! The program that the stories run: `harmony` itself, built along with them.

fn main() -> std::process::ExitCode {
    harmony::main()
}
