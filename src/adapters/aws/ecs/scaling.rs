//! Scaling by load: a scalable target and one policy per service whose bounds differ (`aws-events` 4.5).

use aws_sdk_applicationautoscaling::operation::deregister_scalable_target::DeregisterScalableTargetError;
use aws_sdk_applicationautoscaling::types::{
    MetricType, PolicyType, PredefinedMetricSpecification, ScalableDimension, ServiceNamespace,
    TargetTrackingScalingPolicyConfiguration,
};

use super::super::failure::sort;
use super::{EcsPlace, Site};
use crate::domain::ecs::Bounds;
use crate::ports::failure::Failure;

/// The name of our policy.
const POLICY: &str = "packhorse-cpu";
/// The average use of processors that is aimed at, in percent (`data-contract` 6).
const CPU: f64 = 50.0;

impl EcsPlace {
    /// Brings the scaling of a service to its bounds; a fixed number, and a service that goes, have none.
    pub(super) async fn ensure_scaling(
        &self,
        site: &Site,
        service: &str,
        bounds: Option<Bounds>,
    ) -> Result<(), Failure> {
        let Some((_, cluster)) = site.settings.cluster.rsplit_once('/') else { return Ok(()) };
        let resource = format!("service/{cluster}/{service}");
        let doing = format!("look at the scaling of {service}");
        let known = self
            .autoscaling
            .describe_scalable_targets()
            .service_namespace(ServiceNamespace::Ecs)
            .resource_ids(&resource)
            .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
            .send()
            .await
            .map_err(|error| sort(&doing, error))?;
        let known = known.scalable_targets().first().map(|target| (target.min_capacity(), target.max_capacity()));
        match bounds {
            Some(Bounds::Between(min, max)) => {
                if known != Some((min, max)) {
                    let register = self.autoscaling.register_scalable_target();
                    register
                        .service_namespace(ServiceNamespace::Ecs)
                        .resource_id(&resource)
                        .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
                        .min_capacity(min)
                        .max_capacity(max)
                        .send()
                        .await
                        .map_err(|error| sort(format!("let {service} scale"), error))?;
                }
                self.ensure_policy(&resource, service).await
            }
            Some(Bounds::Fixed(_)) | None if known.is_some() => self.end_scaling(&resource, service).await,
            Some(Bounds::Fixed(_)) | None => Ok(()),
        }
    }

    async fn ensure_policy(&self, resource: &str, service: &str) -> Result<(), Failure> {
        let doing = || format!("let {service} scale");
        let known = self
            .autoscaling
            .describe_scaling_policies()
            .service_namespace(ServiceNamespace::Ecs)
            .resource_id(resource)
            .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
            .send()
            .await
            .map_err(|error| sort(doing(), error))?;
        let aims = |policy: &aws_sdk_applicationautoscaling::types::ScalingPolicy| {
            let aim = policy.target_tracking_scaling_policy_configuration();
            policy.policy_name() == POLICY && aim.is_some_and(|aim| (aim.target_value() - CPU).abs() < f64::EPSILON)
        };
        if known.scaling_policies().iter().any(aims) {
            return Ok(());
        }
        let metric = PredefinedMetricSpecification::builder()
            .predefined_metric_type(MetricType::EcsServiceAverageCpuUtilization)
            .build()
            .map_err(|error| Failure::refused(doing(), error))?;
        let aim = TargetTrackingScalingPolicyConfiguration::builder()
            .target_value(CPU)
            .predefined_metric_specification(metric)
            .build()
            .map_err(|error| Failure::refused(doing(), error))?;
        let put = self
            .autoscaling
            .put_scaling_policy()
            .policy_name(POLICY)
            .policy_type(PolicyType::TargetTrackingScaling)
            .service_namespace(ServiceNamespace::Ecs)
            .resource_id(resource)
            .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
            .target_tracking_scaling_policy_configuration(aim);
        put.send().await.map_err(|error| sort(doing(), error))?;
        Ok(())
    }

    /// Removes the target, and with it its policies and their alarms.
    async fn end_scaling(&self, resource: &str, service: &str) -> Result<(), Failure> {
        let end = self
            .autoscaling
            .deregister_scalable_target()
            .service_namespace(ServiceNamespace::Ecs)
            .resource_id(resource)
            .scalable_dimension(ScalableDimension::EcsServiceDesiredCount);
        match end.send().await {
            Ok(_) => Ok(()),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(DeregisterScalableTargetError::is_object_not_found_exception) =>
            {
                Ok(())
            }
            Err(error) => Err(sort(format!("end the scaling of {service}"), error)),
        }
    }
}
