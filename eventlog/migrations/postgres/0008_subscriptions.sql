-- Who is told of incidents without taking part: not hashed, and gone when it is taken back.
CREATE TABLE subscriptions (
    org TEXT NOT NULL,
    subscription TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (org, subscription)
);
