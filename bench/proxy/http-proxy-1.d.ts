declare module 'http-proxy-1' {
  const httpProxy: { createProxyServer(options: object): import('./rival.ts').Forwarder };
  export default httpProxy;
}
