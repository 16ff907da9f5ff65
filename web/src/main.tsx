import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { App } from "./app";
import "./styles/base.css";
import "./styles/lists.css";
import "./styles/run.css";
import "./styles/stack.css";

const root = document.getElementById("root");
if (root === null) throw new Error("index.html lost its root");
createRoot(root).render(<StrictMode><App /></StrictMode>);
