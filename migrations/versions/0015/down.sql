DROP TABLE gateway_service;
