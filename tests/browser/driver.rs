//! A Chromium and its driver, spoken to in WebDriver over HTTP.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server_process::left_out;

/// Longest wait for something on a page; a loaded machine is slow.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(150);
/// WebDriver's name for a reference to an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

const CHROMIUM: [&str; 3] = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const DRIVER: &str = "/usr/bin/chromedriver";

/// A running driver, which starts browsers.
pub(crate) struct Driver {
    child: Child,
    origin: String,
    binary: &'static str,
    http: reqwest::Client,
}

/// A browser with a profile of its own.
pub(crate) struct Browser<'a> {
    driver: &'a Driver,
    session: String,
    _profile: TempDir,
}

impl Driver {
    /// Starts it for a story; `None`, said aloud, where this machine has no Chromium. On CI that is a failure.
    pub(crate) fn start(story: &str) -> Option<Self> {
        drop(rustls::crypto::ring::default_provider().install_default());
        let binary = CHROMIUM.into_iter().find(|path| Path::new(path).is_file());
        let Some(binary) = binary.filter(|_| Path::new(DRIVER).is_file()) else {
            let missing =
                "there is no Chromium and chromedriver here (apt-get install chromium chromium-driver)";
            left_out(story, missing);
            return None;
        };
        let mut child = Command::new(DRIVER)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                line.split("successfully on port ").nth(1)?.trim_end_matches('.').parse::<u16>().ok()
            })
            .unwrap();
        // Somebody has to read what it goes on to say.
        std::thread::spawn(move || lines.for_each(drop));
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE * 2).build().unwrap();
        Some(Self { child, origin: format!("http://127.0.0.1:{port}"), binary, http })
    }

    /// A new browser that nobody is signed in with.
    pub(crate) async fn browser(&self) -> Browser<'_> {
        let profile = TempDir::new().unwrap();
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--hide-scrollbars",
            "--window-size=1180,900",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let options = json!({ "binary": self.binary, "args": arguments });
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options,
            "timeouts": { "script": PATIENCE.as_millis() },
        } } });
        let answer: Value = self
            .http
            .post(format!("{}/session", self.origin))
            .json(&wanted)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let session = answer["value"]["sessionId"]
            .as_str()
            .unwrap_or_else(|| panic!("no browser: {answer}"))
            .to_owned();
        Browser { driver: self, session, _profile: profile }
    }
}

impl Drop for Driver {
    /// Its browsers end with it, those of a story that failed, too.
    fn drop(&mut self) {
        let address = self.origin.trim_start_matches("http://");
        if let Ok(mut driver) = TcpStream::connect(address) {
            let asked = write!(driver, "GET /shutdown HTTP/1.1\r\nHost: {address}\r\n\r\n");
            // It answers once they have ended.
            drop(asked.and_then(|()| driver.read(&mut [0; 64])));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Browser<'_> {
    async fn ask(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Result<Value, Value> {
        let address = format!("{}/session/{}{path}", self.driver.origin, self.session);
        let mut request = self.driver.http.request(method, address);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let good = answer.status().is_success();
        let value = answer.json::<Value>().await.unwrap()["value"].clone();
        if good { Ok(value) } else { Err(value) }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.ask(reqwest::Method::POST, path, Some(body)).await;
        answer.unwrap_or_else(|problem| panic!("{path}: {problem}"))
    }

    /// Opens an address.
    pub(crate) async fn open(&self, address: &str) {
        self.post("/url", json!({ "url": address })).await;
    }

    /// Where it is.
    pub(crate) async fn address(&self) -> String {
        self.ask(reqwest::Method::GET, "/url", None).await.unwrap().as_str().unwrap().to_owned()
    }

    /// Runs a script in the page and gives what it returns.
    pub(crate) async fn script(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// Runs a script that returns a promise; one that is rejected gives its `problem`.
    pub(crate) async fn promise(&self, script: &str) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1]; (async () => {{ {script} }})().then(done, (problem) => done({{ problem: `${{problem}}` }}))"
        );
        self.post("/execute/async", json!({ "script": script, "args": [] })).await
    }

    async fn find(&self, selector: &str) -> Option<String> {
        let query = json!({ "using": "css selector", "value": selector });
        let found = self.ask(reqwest::Method::POST, "/element", Some(query)).await.ok()?;
        found[ELEMENT].as_str().map(str::to_owned)
    }

    /// Whether there is such an element.
    pub(crate) async fn has(&self, selector: &str) -> bool {
        self.find(selector).await.is_some()
    }

    /// Waits until a script returns true. One that fails is run again: what it looks at may not be there
    /// yet while a page is on its way.
    pub(crate) async fn until(&self, what: &str, script: &str) {
        let start = Instant::now();
        loop {
            let body = json!({ "script": script, "args": [] });
            let answer = self.ask(reqwest::Method::POST, "/execute/sync", Some(body)).await;
            if answer == Ok(Value::Bool(true)) {
                return;
            }
            if start.elapsed() > PATIENCE {
                let (address, text) = (self.address().await, self.text().await);
                panic!("waited for {what} at {address}; its script gave {answer:?}\n{text}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until the page says this.
    pub(crate) async fn says(&self, words: &str) {
        let script = format!("return document.body.innerText.includes({})", json!(words));
        self.until(words, &script).await;
    }

    /// Waits for an element and clicks it.
    pub(crate) async fn click(&self, selector: &str) {
        let start = Instant::now();
        loop {
            if let Some(element) = self.find(selector).await {
                self.script(&format!(
                    "document.querySelector({})?.scrollIntoView({{block: 'center'}})",
                    json!(selector)
                ))
                .await;
                let clicked = self
                    .ask(reqwest::Method::POST, &format!("/element/{element}/click"), Some(json!({})))
                    .await;
                match clicked {
                    Ok(_) => return,
                    // A live page may have replaced it between the two.
                    Err(problem) if start.elapsed() > PATIENCE => panic!("{selector}: {problem}"),
                    Err(_) => {}
                }
            }
            if start.elapsed() > PATIENCE {
                panic!("waited for {selector} at {}\n{}", self.address().await, self.text().await);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Clicks a button that asks first, and says yes.
    pub(crate) async fn click_and_confirm(&self, selector: &str) {
        self.click(selector).await;
        self.post("/alert/accept", json!({})).await;
    }

    /// Waits for a field and types into it, in place of what is there.
    pub(crate) async fn fill(&self, selector: &str, text: &str) {
        let emptied = format!(
            "const field = document.querySelector({}); for (let up = field; up; up = up.parentElement) if (up.tagName === 'DETAILS') up.open = true; field.value = ''; return true;",
            json!(selector)
        );
        let start = Instant::now();
        loop {
            self.until(selector, &emptied).await;
            let Some(element) = self.find(selector).await else { continue };
            let path = format!("/element/{element}/value");
            match self.ask(reqwest::Method::POST, &path, Some(json!({ "text": text }))).await {
                Ok(_) => return,
                // A live page may have replaced it between the two.
                Err(problem) if start.elapsed() > PATIENCE => panic!("{selector}: {problem}"),
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// What the page says.
    pub(crate) async fn text(&self) -> String {
        self.script("return document.body.innerText").await.as_str().unwrap_or_default().to_owned()
    }

    /// Opens another tab and goes there; gives the tab that was left.
    pub(crate) async fn new_tab(&self) -> String {
        let left = self.ask(reqwest::Method::GET, "/window", None).await.unwrap();
        let tab = self.post("/window/new", json!({ "type": "tab" })).await;
        self.post("/window", json!({ "handle": tab["handle"] })).await;
        left.as_str().unwrap().to_owned()
    }

    /// Closes this tab and goes back to another.
    pub(crate) async fn back_to(&self, tab: &str) {
        self.ask(reqwest::Method::DELETE, "/window", None).await.unwrap();
        self.post("/window", json!({ "handle": tab })).await;
    }

    /// How wide the page is shown, in pixels, and in which theme.
    pub(crate) async fn look_like(&self, width: u32, height: u32, theme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        // Nothing is looked at in the midst of a transition.
        let media = json!({ "features": [
            { "name": "prefers-color-scheme", "value": theme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ] });
        for (command, parameters) in
            [("Emulation.setDeviceMetricsOverride", size), ("Emulation.setEmulatedMedia", media)]
        {
            self.post("/goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await;
        }
    }

    /// A picture of what is shown, base64.
    pub(crate) async fn picture(&self) -> String {
        self.ask(reqwest::Method::GET, "/screenshot", None).await.unwrap().as_str().unwrap().to_owned()
    }

    /// Ends it.
    pub(crate) async fn close(self) {
        let address = format!("{}/session/{}", self.driver.origin, self.session);
        drop(self.driver.http.delete(address).send().await);
    }
}
