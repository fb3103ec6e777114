{{- /* What the pods of all kinds have in common. */ -}}

{{- define "harmony.fullname" -}}
{{- if contains "harmony" .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-harmony" .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "harmony.labels" -}}
app.kubernetes.io/part-of: harmony
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* "context" and "component": metadata of an object that belongs to a part. */ -}}
{{- define "harmony.metadata" -}}
name: {{ include "harmony.fullname" .context }}-{{ .component }}
namespace: {{ .context.Release.Namespace }}
labels:
  app.kubernetes.io/name: {{ include "harmony.fullname" .context }}-{{ .component }}
  {{- include "harmony.labels" .context | nindent 2 }}
{{- end -}}

{{- define "harmony.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "harmony.runbookImage" -}}
{{ .Values.runbookPool.image.repository | default .Values.image.repository }}:{{ .Values.runbookPool.image.tag | default .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "harmony.governance" -}}
{{ .Values.governance.existingConfigMap | default (printf "%s-governance" (include "harmony.fullname" .)) }}
{{- end -}}

{{- /* The settings of harmony-config: the chart's own, then what the features add, then the values. */ -}}
{{- define "harmony.config" -}}
{{- $config := dict
    "HARMONY_DATA_DIR" "/var/lib/harmony"
    "HARMONY_DIRECTORY" "/etc/harmony/directory.toml"
    "HARMONY_POLICY" "/etc/harmony/policy.toml"
    "HARMONY_PROMOTION_POLICIES" (ternary "/etc/harmony-promotion" "/usr/share/harmony/policies" (not (empty .Values.promotionPolicies)))
    "HARMONY_RUNBOOKS" (ternary "/etc/harmony-runbooks" "/usr/share/harmony/runbooks" (not (empty .Values.runbooks))) -}}
{{- if .Values.governance.accessPolicies -}}
{{- $_ := set $config "HARMONY_ACCESS_POLICIES" "/etc/harmony/policies.cedar" -}}
{{- end -}}
{{- if .Values.flagd.enabled -}}
{{- $_ := set $config "FLAGD_HOST" (printf "%s-flagd" (include "harmony.fullname" .)) -}}
{{- $_ := set $config "FLAGD_PORT" "8013" -}}
{{- end -}}
{{- if .Values.otlp.enabled -}}
{{- $_ := set $config "OTEL_EXPORTER_OTLP_ENDPOINT" .Values.otlp.endpoint -}}
{{- $_ := set $config "OTEL_EXPORTER_OTLP_PROTOCOL" .Values.otlp.protocol -}}
{{- end -}}
{{- range $name, $value := .Values.config -}}
{{- $_ := set $config $name (toString $value) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- /* A new value of any of these means new pods: they read settings and secrets when they start. Governance, policies
       and runbooks are read again by themselves. */ -}}
{{- define "harmony.podMetadata" -}}
labels:
  app.kubernetes.io/name: {{ include "harmony.fullname" .context }}-{{ .component }}
  {{- include "harmony.labels" .context | nindent 2 }}
annotations:
  checksum/config: {{ include "harmony.config" .context | sha256sum }}
  checksum/secrets: {{ toJson .context.Values.secrets.inline | sha256sum }}
  {{- with .annotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "harmony.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "harmony.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: ["ALL"]
{{- end -}}

{{- define "harmony.spread" -}}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      app.kubernetes.io/name: {{ include "harmony.fullname" $.context }}-{{ $.component }}
{{- end }}
{{- end -}}

{{- define "harmony.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "harmony.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "harmony.pullPolicy" -}}
{{- with .Values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- end -}}

{{- /* Processes that serve tell how they are where the metrics are, never at the public port. */ -}}
{{- define "harmony.probes" -}}
startupProbe:
  httpGet:
    path: /healthz
    port: metrics
  periodSeconds: 2
  failureThreshold: 30
livenessProbe:
  httpGet:
    path: /healthz
    port: metrics
  periodSeconds: 10
readinessProbe:
  httpGet:
    path: /readyz
    port: metrics
  periodSeconds: 5
  # The answer itself waits at most 2 s for the store.
  timeoutSeconds: 3
{{- end -}}

{{- /* "purpose" (of secrets.names), "key", "optional". */ -}}
{{- define "harmony.fromSecret" -}}
- name: {{ .key }}
  valueFrom:
    secretKeyRef:
      name: {{ index .context.Values.secrets.names .purpose }}
      key: {{ .key }}
      {{- if .optional }}
      optional: true
      {{- end }}
{{- end -}}

{{- define "harmony.fromConfig" -}}
- name: {{ .key }}
  valueFrom:
    configMapKeyRef:
      name: {{ include "harmony.fullname" .context }}-config
      key: {{ .key }}
{{- end -}}

{{- /* Every secret that a store outside can hold, by purpose: what external-secrets.yaml asks for. */ -}}
{{- define "harmony.secretKeys" -}}
attestation: [HARMONY_ATTESTATION_KEY, HARMONY_CHECKPOINT_KEY]
ticket: [HARMONY_TICKET_KEY]
database: [DATABASE_URL, HARMONY_SALT_KEY]
sites: [HARMONY_OIDC_CLIENT_SECRET, HARMONY_WEBHOOKS, HARMONY_WEBHOOK_SECRETS]
session: [HARMONY_SESSION_KEY]
temporal: [TEMPORAL_API_KEY]
vendors:
  - CONFLUENCE_API_TOKEN
  - CONFLUENCE_BASE_URL
  - CONFLUENCE_EMAIL
  - CONFLUENCE_SPACE_KEY
  - GITHUB_REPOSITORY
  - GITHUB_TOKEN
  - JIRA_API_TOKEN
  - JIRA_BASE_URL
  - JIRA_EMAIL
  - JIRA_PROJECT_KEY
  - JIRA_WEBHOOK_SECRET
  - HARMONY_ALERTMANAGER_SECRET
  - HARMONY_GRAFANA_SECRET
  - HARMONY_ARGOCD_SECRET
  - HARMONY_CHANGES_KEY
  - HARMONY_EVENTS_SECRET
  - HARMONY_GITHUB_SECRET
  - HARMONY_GITLAB_SECRET
  - HARMONY_MAIL_FROM
  - HARMONY_SMTP_PASSWORD
  - HARMONY_SMTP_URL
  - PAGERDUTY_API_KEY
  - PAGERDUTY_FROM
  - PAGERDUTY_SERVICE_ID
  - PAGERDUTY_WEBHOOK_SECRET
  - SLACK_APP_TOKEN
  - SLACK_BOT_TOKEN
  - SLACK_SIGNING_SECRET
  - STATUSPAGE_API_KEY
  - STATUSPAGE_PAGE_ID
{{- end -}}

{{- /* What console and MCP pods know. */ -}}
{{- define "harmony.consoleEnv" -}}
- name: HARMONY_HTTP_ADDR
  value: "0.0.0.0:8088"
- name: HARMONY_METRICS_ADDR
  value: "0.0.0.0:9464"
{{- range list
    (list "database" "DATABASE_URL" false)
    (list "database" "HARMONY_SALT_KEY" false)
    (list "attestation" "HARMONY_ATTESTATION_KEY" false)
    (list "session" "HARMONY_SESSION_KEY" false)
    (list "attestation" "HARMONY_CHECKPOINT_KEY" false)
    (list "temporal" "TEMPORAL_API_KEY" true)
    (list "vendors" "CONFLUENCE_SPACE_KEY" true)
    (list "vendors" "GITHUB_REPOSITORY" true)
    (list "vendors" "JIRA_PROJECT_KEY" true)
    (list "vendors" "JIRA_WEBHOOK_SECRET" true)
    (list "vendors" "HARMONY_ALERTMANAGER_SECRET" true)
    (list "vendors" "HARMONY_GRAFANA_SECRET" true)
    (list "vendors" "HARMONY_ARGOCD_SECRET" true)
    (list "vendors" "HARMONY_CHANGES_KEY" true)
    (list "vendors" "HARMONY_EVENTS_SECRET" true)
    (list "vendors" "HARMONY_GITHUB_SECRET" true)
    (list "vendors" "HARMONY_GITLAB_SECRET" true)
    (list "sites" "HARMONY_OIDC_CLIENT_SECRET" true)
    (list "vendors" "HARMONY_MAIL_FROM" true)
    (list "vendors" "HARMONY_SMTP_URL" true)
    (list "sites" "HARMONY_WEBHOOKS" true)
    (list "sites" "HARMONY_WEBHOOK_SECRETS" true)
    (list "vendors" "PAGERDUTY_WEBHOOK_SECRET" true)
    (list "vendors" "SLACK_APP_TOKEN" true)
    (list "vendors" "SLACK_BOT_TOKEN" true)
    (list "vendors" "SLACK_SIGNING_SECRET" true) }}
{{ include "harmony.fromSecret" (dict "context" $ "purpose" (index . 0) "key" (index . 1) "optional" (index . 2)) }}
{{- end }}
{{- end -}}

{{- define "harmony.governedMounts" -}}
- name: data
  mountPath: /var/lib/harmony
- name: environment-policies
  mountPath: /var/lib/harmony/policies/environments
  readOnly: true
- name: governance
  mountPath: /etc/harmony
  readOnly: true
{{- if .Values.promotionPolicies }}
- name: promotion-policies
  mountPath: /etc/harmony-promotion
  readOnly: true
{{- end }}
{{- if .Values.runbooks }}
- name: runbooks
  mountPath: /etc/harmony-runbooks
  readOnly: true
{{- end }}
{{- end -}}

{{- define "harmony.outputsClaim" -}}
{{ .Values.outputs.existingClaim | default (printf "%s-outputs" (include "harmony.fullname" .)) }}
{{- end -}}

{{- define "harmony.governedVolumes" -}}
- name: data
  emptyDir:
    sizeLimit: 64Mi
- name: environment-policies
  configMap:
    name: {{ include "harmony.fullname" . }}-environment-policies
    optional: true
- name: governance
  configMap:
    name: {{ include "harmony.governance" . }}
{{- if .Values.promotionPolicies }}
- name: promotion-policies
  configMap:
    name: {{ include "harmony.fullname" . }}-promotion-policies
{{- end }}
{{- if .Values.runbooks }}
- name: runbooks
  configMap:
    name: {{ include "harmony.fullname" . }}-runbooks
{{- end }}
{{- end -}}

{{- /* The pod of a job. "args", "env" (text), "limit" of memory, "restart", "component". */ -}}
{{- define "harmony.jobPod" -}}
metadata:
  labels:
    app.kubernetes.io/name: {{ include "harmony.fullname" .context }}-{{ .component }}
    {{- include "harmony.labels" .context | nindent 4 }}
spec:
  restartPolicy: {{ .restart }}
  serviceAccountName: {{ include "harmony.fullname" .context }}-jobs
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- include "harmony.pullSecrets" .context | nindent 2 }}
  securityContext: {{- include "harmony.podSecurity" .context | nindent 4 }}
  containers:
    - name: harmony
      image: {{ include "harmony.image" .context }}
      {{- include "harmony.pullPolicy" .context | nindent 6 }}
      args: {{ toJson .args }}
      env: {{- .env | nindent 8 }}
      resources:
        requests: {cpu: 50m, memory: 64Mi, ephemeral-storage: 64Mi}
        limits: {memory: {{ .limit }}, ephemeral-storage: 128Mi}
      securityContext: {{- include "harmony.containerSecurity" .context | nindent 8 }}
      volumeMounts:
        - name: data
          mountPath: /var/lib/harmony
  volumes:
    - name: data
      emptyDir:
        sizeLimit: 16Mi
{{- end -}}

{{- /* A job is not changed once it is there: whatever changes it (the image above all) changes its name. */ -}}
{{- define "harmony.job" -}}
{{- $pod := include "harmony.jobPod" . -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ include "harmony.fullname" .context }}-{{ .component }}-{{ $pod | sha256sum | trunc 8 }}
  namespace: {{ .context.Release.Namespace }}
  labels:
    app.kubernetes.io/name: {{ include "harmony.fullname" .context }}-{{ .component }}
    {{- include "harmony.labels" .context | nindent 4 }}
spec:
  backoffLimit: 6
  ttlSecondsAfterFinished: 600
  template: {{- $pod | nindent 4 }}
{{- end -}}

{{- define "harmony.migrateEnv" -}}
{{- range list "HARMONY_DATA_DIR" "HARMONY_LOG_FORMAT" }}
{{ include "harmony.fromConfig" (dict "context" $ "key" .) }}
{{- end }}
{{- range list "DATABASE_URL" "HARMONY_SALT_KEY" }}
{{ include "harmony.fromSecret" (dict "context" $ "purpose" "database" "key" . "optional" false) }}
{{- end }}
{{- end -}}

{{- define "harmony.setupEnv" -}}
{{- range list "HARMONY_DATA_DIR" "HARMONY_LOG_FORMAT" "TEMPORAL_ADDRESS" "TEMPORAL_NAMESPACE" }}
{{ include "harmony.fromConfig" (dict "context" $ "key" .) }}
{{- end }}
{{ include "harmony.fromSecret" (dict "context" $ "purpose" "temporal" "key" "TEMPORAL_API_KEY" "optional" true) }}
{{- end -}}

{{- /* Where Temporal or the database is: a namespace of this cluster, or addresses outside. */ -}}
{{- define "harmony.to" -}}
{{- if .cidrs -}}
{{- range .cidrs }}
- ipBlock:
    cidr: {{ . }}
{{- end }}
{{- else -}}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ .namespace }}
{{- end -}}
{{- end -}}

{{- /* "context" and "components": pods of any of these. */ -}}
{{- define "harmony.selectAny" -}}
matchExpressions:
  - key: app.kubernetes.io/name
    operator: In
    values:
      {{- range .components }}
      - {{ include "harmony.fullname" $.context }}-{{ . }}
      {{- end }}
{{- end -}}
