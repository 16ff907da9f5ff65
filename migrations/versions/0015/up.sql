-- When the gateway served. Statements end with a semicolon at the end of a line.
CREATE TABLE gateway_service (
    one BOOLEAN DEFAULT true NOT NULL,
    served BIGINT DEFAULT '0' NOT NULL,
    CONSTRAINT pk_gateway_service PRIMARY KEY (one),
    CONSTRAINT ck_gateway_service_one CHECK (one)
);
