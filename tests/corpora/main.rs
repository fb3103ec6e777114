//! Everything that fuzzing has found worth keeping, read again with the ordinary toolchain.

#[expect(unreachable_pub, reason = "the fuzz crate offers it; here it is a module")]
#[path = "../../fuzz/src/inputs.rs"]
mod inputs;
#[expect(unreachable_pub, reason = "the fuzz crate offers it; here it is a module")]
#[path = "../../fuzz/src/posted.rs"]
mod posted;

use std::{collections::BTreeMap, fs, path::Path};

#[test]
fn every_corpus_is_read_without_a_panic() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let readers: BTreeMap<&str, inputs::Input> = inputs::INPUTS.into_iter().chain(posted::INPUTS).collect();
    let mut folders: Vec<_> = fs::read_dir(&corpora)
        .unwrap()
        .map(|folder| folder.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort();
    assert_eq!(readers.keys().collect::<Vec<_>>(), folders.iter().collect::<Vec<_>>(), "a reader each");
    for (name, read) in readers {
        let mut files = 0;
        for file in fs::read_dir(corpora.join(name)).unwrap() {
            let path = file.unwrap().path();
            println!("{}", path.display());
            read(&fs::read(&path).unwrap());
            files += 1;
        }
        assert!(files > 0, "the corpus {name} is empty");
    }
}
